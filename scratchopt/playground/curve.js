// The loss over the steps, above its minimum.

const LEAST = 1e-16; // below, a difference of losses is rounding

class Curve {
  constructor(canvas) {
    this.canvas = canvas;
  }

  draw({ setting, tracks, inks }, time) {
    const { context, width, height } = prepare(this.canvas);
    const f = PLAYGROUND.functions[setting.function];
    const box = { left: 46, right: width - 14, top: 8, bottom: height - 20 };
    this.x = linearScale([0, setting.steps], [box.left, box.right]);
    if (this.of !== tracks || this.width !== width || this.height !== height) {
      const floor = Math.min(...f.minimizers.map((each) => f.value(each, setting.parameters)));
      this.make(tracks, floor, box);
      [this.of, this.width, this.height] = [tracks, width, height];
    }
    this.drawAxes(context, setting.steps, box, inks);
    context.lineWidth = 1.8;
    context.lineJoin = "round";
    const [low, high] = [box.left - 4, this.x(time)];
    for (const [from, to, alpha] of [[low, high, 1], [high, width, 0.3]]) {
      context.save();
      context.beginPath();
      context.rect(from, 0, to - from, height);
      context.clip();
      context.globalAlpha = alpha;
      tracks.forEach((track, i) => {
        context.strokeStyle = inks.colour(track.setting.method);
        context.setLineDash(inks.dash(track.setting.method));
        context.stroke(this.lines[i].path);
      });
      context.restore();
    }
    context.textAlign = "right";
    context.textBaseline = "top";
    drawText(context, "loss − minimum", box.right - 4, box.top, inks);
    context.strokeStyle = inks.ink;
    context.lineWidth = 1;
    drawLine(context, high, box.top, high, box.bottom);
    tracks.forEach((track, i) => {
      const k = Math.min(time, track.steps);
      const [before, after] = [Math.floor(k), Math.ceil(k)].map((n) => this.lines[i].heights[n]);
      context.fillStyle = inks.paper;
      fillDisc(context, [this.x(k), before + (after - before) * (k % 1)], 5);
      context.fillStyle = inks.colour(track.setting.method);
      fillDisc(context, [this.x(k), before + (after - before) * (k % 1)], 4);
    });
  }

  make(tracks, floor, box) {
    const excesses = tracks.map(({ losses }) => losses.map((loss) => Math.max(loss - floor, LEAST)));
    const all = excesses.flat().filter(Number.isFinite);
    const first = all[0] ?? 1;
    // A run that diverges takes some of the height, not all of it.
    const most = Math.min(Math.max(first, ...all), Math.max(first, 1e-3) * 1e4);
    const least = Math.max(Math.min(first, ...all), LEAST);
    this.range = [Math.floor(Math.log10(least)), Math.max(Math.ceil(Math.log10(most)), Math.floor(Math.log10(least)) + 1)];
    this.y = linearScale(this.range, [box.bottom, box.top]);
    this.lines = excesses.map((values) => {
      const heights = values.map((value) => Math.max(this.y(Math.log10(value)), box.top - 30));
      const path = new Path2D();
      heights.forEach((y, k) => path.lineTo(this.x(k), y));
      return { heights, path };
    });
  }

  drawAxes(context, steps, box, inks) {
    context.font = inks.font;
    context.strokeStyle = inks.line;
    context.fillStyle = inks.soft;
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    const [low, high] = this.range;
    const every = Math.max(1, Math.ceil((high - low) / Math.max(2, (box.bottom - box.top) / 26)));
    for (let power = low; power <= high; power += every) {
      const y = this.y(power);
      drawLine(context, box.left, y, box.right, y);
      context.fillText(`10${superscripts(power)}`, box.left - 6, y);
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    const ticks = roundTicks(0, steps, Math.max(2, (box.right - box.left) / 90));
    for (const tick of ticks.filter(Number.isInteger)) context.fillText(tick, this.x(tick), box.bottom + 5);
  }

  // The step at a place of the canvas.
  toStep(px, steps) {
    return Math.max(0, Math.min(steps, Math.round(this.x.invert(px))));
  }
}
