// The landscape: the function as a graph or as shades and contours, and the runs upon it.

class Landscape {
  constructor(canvas) {
    this.canvas = canvas;
    this.ground = document.createElement("canvas");
    this.drawnGround = null;
  }

  // Draws the runs at a time; `scene` has the setting, the tracks, the inks and who is shown.
  draw(scene, time) {
    const { context, width, height, ratio } = prepare(this.canvas);
    const { setting, inks } = scene;
    this.f = PLAYGROUND.functions[setting.function];
    this.parameters = setting.parameters;
    this.place(width, height);
    const key = JSON.stringify([setting.function, setting.parameters, width, height, ratio, inks]);
    if (key !== this.drawnGround) {
      this.drawGround(inks, width, height, ratio);
      this.drawnGround = key;
      this.paths = null;
    }
    context.drawImage(this.ground, 0, 0, width, height);
    if (this.paths?.of !== scene.tracks) this.makePaths(scene.tracks);

    const { left, right, top, bottom } = this.box;
    context.lineJoin = context.lineCap = "round";
    context.save();
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    context.clip();
    for (const track of scene.tracks) this.drawPath(context, track, time, inks);
    const shown = scene.tracks.find((each) => each.setting.method === setting.shown);
    if (shown) this.drawArrows(context, shown, Math.floor(time), inks);
    context.restore();
    this.drawBalls(context, scene, time);
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

  // A ball lies on the graph: its centre is off it by its radius, at a right angle.
  restAt(theta) {
    const [x, y] = this.toPixels(theta);
    if (this.f.dim === 2) return [x, y];
    const slope = (this.y(this.value(this.x.invert(x + 1))) - this.y(this.value(this.x.invert(x - 1)))) / 2;
    const length = Math.hypot(1, slope);
    return [x + (slope / length) * BALL, y - BALL / length];
  }

  // Between two steps it goes straight, but not through the ground.
  ballAt(track, time) {
    const k = Math.min(Math.floor(time), track.steps);
    const here = this.restAt(track.iterates[k]);
    if (k === track.steps || time === k) return here;
    const [x, y] = interpolate(here, this.restAt(track.iterates[k + 1]), time - k);
    if (this.f.dim === 2) return [x, y];
    return [x, Math.min(y, this.restAt([this.x.invert(x)])[1])];
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
      ring(context, [x, y], 6, inks.ink, inks);
      context.fillStyle = inks.ink;
      disc(context, [x, y], 2);
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
    for (const tick of roundTicks(...range[0], width(right - left, 70))) {
      const x = this.x(tick);
      context.fillText(format(tick, 3), x, bottom + 6);
      if (dim === 1) line(context, x, top, x, bottom);
    }
    context.textAlign = "right";
    context.textBaseline = "middle";
    const values = dim === 2 ? range[1] : [this.y.invert(bottom), this.y.invert(top)];
    for (const tick of roundTicks(...values, width(bottom - top, 60))) {
      const y = this.y(tick);
      context.fillText(format(tick, 3), left - 6, y);
      if (dim === 1) line(context, left, y, right, y);
    }
    context.textAlign = "right";
    context.textBaseline = "bottom";
    halo(context, axes[0], right - 6, bottom - 4, inks);
    context.textAlign = "left";
    context.textBaseline = "top";
    halo(context, dim === 1 ? "f(x)" : axes[1], left + 6, top + 5, inks);

    function width(pixels, each) {
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

  // The paths in pixels, once for each simulation, and whole as one line that is drawn faintly.
  makePaths(tracks) {
    this.paths = new Map();
    this.paths.of = tracks;
    for (const track of tracks) {
      const points = track.iterates.map((theta) => this.toPixels(theta));
      const whole = new Path2D();
      for (const [x, y] of points) whole.lineTo(x, y);
      this.paths.set(track, { points, whole });
    }
  }

  drawPath(context, track, time, inks) {
    const { points, whole } = this.paths.get(track);
    const colour = inks.colour(track.setting.method);
    context.strokeStyle = context.fillStyle = colour;
    context.setLineDash(inks.dash(track.setting.method));
    context.lineWidth = 1.5;
    context.globalAlpha = 0.3;
    context.stroke(whole);
    context.globalAlpha = this.f.dim === 1 ? 0.55 : 1;
    context.lineWidth = 2;
    context.beginPath();
    const last = Math.min(Math.floor(time), track.steps);
    for (let k = 0; k <= last; k++) context.lineTo(...points[k]);
    if (this.f.dim === 2) context.lineTo(...this.toPixels(positionAt(track, time)));
    context.stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
    for (let k = 0; k <= last; k++) disc(context, points[k], 2.2);
  }

  // Of the method whose sliders are shown: the velocity, which leads to the next θ, and −lr·gradient.
  drawArrows(context, track, k, inks) {
    if (k >= track.steps) return;
    const colour = inks.colour(track.setting.method);
    const { left, right, top, bottom } = this.box;
    const most = Math.hypot(right - left, bottom - top) / 4;
    const from = this.restAt(track.iterates[k]);
    const point = this.restAt(track.points[k]);
    const along = (origin, theta, step) =>
      this.f.dim === 1
        ? [this.x(theta[0] + step[0]), origin[1]]
        : [this.x(theta[0] + step[0]), this.y(theta[1] + step[1])];
    const lr = track.setting.values.lr ?? 1;
    const descent = track.gradients[k].map((g) => -lr * g);
    arrow(context, point, along(point, track.points[k], descent), most, inks.ink, [2, 4], inks);
    arrow(context, from, along(from, track.iterates[k], track.velocities[k]), Infinity, colour, [], inks);
  }

  drawBalls(context, { setting, tracks, inks }, time) {
    const { left, right, top, bottom } = this.box;
    const labels = [];
    const isShown = (track) => track.setting.method === setting.shown;
    const rising = [...tracks].sort((a, b) => isShown(a) - isShown(b));
    for (const track of rising) {
      const { title, pointed } = PLAYGROUND.methods[track.setting.method];
      const colour = inks.colour(track.setting.method);
      const k = Math.min(Math.floor(time), track.steps);
      const [x, y] = this.ballAt(track, time);
      if (pointed && k < track.steps) {
        const point = this.restAt(track.points[k]);
        context.strokeStyle = colour;
        context.lineWidth = 1;
        line(context, ...this.restAt(track.iterates[k]), ...point);
        ring(context, point, BALL - 3, colour, inks);
      }
      const at = [Math.max(left, Math.min(right, x)), Math.max(top, Math.min(bottom, y))];
      const outside = Math.hypot(x - at[0], y - at[1]) > BALL;
      if (outside) wedge(context, at, Math.atan2(y - at[1], x - at[0]), colour, inks);
      else ball(context, at, colour, this.f.dim === 1 ? x / BALL : null, inks);
      if (tracks.length > 1 || outside) labels.push({ text: outside ? `${title} is outside` : title, at, colour });
    }
    this.drawLabels(context, labels, inks);
  }

  // Each name beside its ball, moved up or down where another name is.
  drawLabels(context, labels, inks) {
    context.font = inks.font;
    context.textBaseline = "middle";
    const taken = [];
    for (const { text, at: [x, y] } of labels.reverse()) {
      const width = context.measureText(text).width;
      const start = x + BALL + 6 + width > this.box.right ? x - BALL - 6 - width : x + BALL + 6;
      const [highest, lowest] = [this.box.top + 10, this.box.bottom - 10];
      const isFree = (line) => line >= highest && line <= lowest && taken.every((other) =>
        Math.abs(other.line - line) >= 14 || start > other.end || start + width < other.start);
      const offsets = [0, -15, 15, -30, 30, -45, 45, -60, 60, -75, 75, -90, 90];
      const near = Math.max(highest, Math.min(lowest, y - 10));
      const line = near + (offsets.find((offset) => isFree(near + offset)) ?? 0);
      taken.push({ start, end: start + width, line });
      context.textAlign = "left";
      halo(context, text, start, line, inks);
    }
  }

  // The run whose ball, or at step 0 the common start, is within reach of a place.
  grab(scene, time, px, py, reach) {
    let best = null;
    for (const track of scene.tracks) {
      const [x, y] = this.ballAt(track, time);
      const distance = Math.hypot(px - x, py - y);
      if (distance <= reach && (!best || distance < best.distance)) {
        const [ground] = [this.toPixels(positionAt(track, time))];
        best = { track, distance, offset: [ground[0] - px, ground[1] - py] };
      }
    }
    return best;
  }
}
