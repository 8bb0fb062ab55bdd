// The ground: a function as a graph, or as shades and contours, and the scales of its picture.

class Ground {
  constructor(canvas) {
    this.canvas = canvas;
    this.ground = document.createElement("canvas");
    this.drawnGround = null;
  }

  // Lays out the scales. A graph leaves room above for the ball that lies on it.
  place(width, height) {
    const narrow = width < 480;
    this.box = { left: narrow ? 34 : 46, right: width - 14, top: 10, bottom: height - 30 };
    const { left, right, top, bottom } = this.box;
    const { window: range, dim } = this.f;
    this.x = linearScale(range[0], [left, right]);
    if (dim === 2) this.y = linearScale(range[1], [bottom, top]);
    else {
      const [low, high] = range[0];
      const values = Array.from({ length: 401 }, (_, i) => this.value(low + ((high - low) * i) / 400));
      const [least, most] = [Math.min(...values), Math.max(...values)];
      const margin = (most - least) * 0.08;
      this.y = linearScale([least - margin, most + margin], [bottom, top]);
    }
  }

  value(...theta) {
    return this.f.value(theta, this.parameters);
  }

  // Where a point of the parameters is on the canvas.
  toPixels(theta) {
    return [this.x(theta[0]), this.y(this.f.dim === 1 ? this.value(theta[0]) : theta[1])];
  }

  // What a place on the canvas is as a start: within the window, and with as many digits as pixels.
  toStart(px, py) {
    const places = [this.x.invert(px), this.y.invert(py)];
    return this.f.window.map(([low, high], i) => {
      const digits = Math.max(0, Math.ceil(-Math.log10((high - low) / 1000)));
      return Number(Math.min(high, Math.max(low, places[i])).toFixed(digits));
    });
  }

  drawGround(inks, width, height, ratio) {
    this.ground.width = Math.round(width * ratio);
    this.ground.height = Math.round(height * ratio);
    const context = this.ground.getContext("2d");
    if (this.f.dim === 2) this.drawPlane(context, inks, ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.drawAxes(context, inks);
    if (this.f.dim === 1) this.drawGraph(context, inks);
    for (const minimizer of this.f.minimizers) {
      const [x, y] = this.toPixels(minimizer);
      drawRing(context, [x, y], 6, inks.ink, inks);
      context.fillStyle = inks.ink;
      fillDisc(context, [x, y], 2);
    }
  }

  drawAxes(context, inks) {
    const { left, right, top, bottom } = this.box;
    const { dim, axes, window: range } = this.f;
    context.strokeStyle = inks.line;
    context.fillStyle = inks.soft;
    context.font = inks.font;
    context.textAlign = "center";
    context.textBaseline = "top";
    context.lineWidth = 1;
    if (dim === 2) context.strokeRect(left, top, right - left, bottom - top);
    for (const tick of roundTicks(...range[0], count(right - left, 70))) {
      const x = this.x(tick);
      context.fillText(format(tick, 3), x, bottom + 6);
      if (dim === 1) drawLine(context, x, top, x, bottom);
    }
    context.textAlign = "right";
    context.textBaseline = "middle";
    const values = dim === 2 ? range[1] : [this.y.invert(bottom), this.y.invert(top)];
    for (const tick of roundTicks(...values, count(bottom - top, 60))) {
      const y = this.y(tick);
      context.fillText(format(tick, 3), left - 6, y);
      if (dim === 1) drawLine(context, left, y, right, y);
    }
    context.textAlign = "right";
    context.textBaseline = "bottom";
    drawText(context, axes[0], right - 6, bottom - 4, inks);
    context.textAlign = "left";
    context.textBaseline = "top";
    drawText(context, dim === 1 ? "f(x)" : axes[1], left + 6, top + 5, inks);

    function count(pixels, each) {
      return Math.max(2, Math.round(pixels / each));
    }
  }

  drawPlane(context, inks, ratio) {
    const { left, right, top, bottom } = this.box;
    const floor = Math.min(...this.f.minimizers.map((each) => this.value(...each)));
    const excess = (px, py) => this.value(this.x.invert(left + px / ratio), this.y.invert(top + py / ratio)) - floor;
    const rectangle = [left, top, right - left, bottom - top].map((each) => Math.round(each * ratio));
    drawShades(context, rectangle, excess, inks, ratio);
  }

  drawGraph(context, inks) {
    const { left, right, bottom } = this.box;
    context.beginPath();
    for (let px = left; px <= right; px++) context.lineTo(px, this.y(this.value(this.x.invert(px))));
    context.lineWidth = 2;
    context.strokeStyle = inks.soft;
    context.stroke();
    context.lineTo(right, bottom);
    context.lineTo(left, bottom);
    context.fillStyle = inks.ground;
    context.fill();
  }
}
