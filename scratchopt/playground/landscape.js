// The landscape: the ground, and the runs upon it.

class Landscape extends Ground {
  // Draws the runs at a time; `scene` has the setting, the tracks, the inks and which is shown.
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
    for (let k = 0; k <= last; k++) fillDisc(context, points[k], 2.2);
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
    drawArrow(context, point, along(point, track.points[k], descent), most, inks.ink, [2, 4], inks);
    drawArrow(context, from, along(from, track.iterates[k], track.velocities[k]), Infinity, colour, [], inks);
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
        drawLine(context, ...this.restAt(track.iterates[k]), ...point);
        drawRing(context, point, BALL - 3, colour, inks);
      }
      const at = [Math.max(left, Math.min(right, x)), Math.max(top, Math.min(bottom, y))];
      const outside = Math.hypot(x - at[0], y - at[1]) > BALL;
      if (outside) drawWedge(context, at, Math.atan2(y - at[1], x - at[0]), colour, inks);
      else drawBall(context, at, colour, this.f.dim === 1 ? x / BALL : null, inks);
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
      drawText(context, text, start, line, inks);
    }
  }

  // The run whose ball, or at step 0 the common start, is within reach of a place.
  grab(scene, time, px, py, reach) {
    let best = null;
    for (const track of scene.tracks) {
      const [x, y] = this.ballAt(track, time);
      const distance = Math.hypot(px - x, py - y);
      if (distance <= reach && (!best || distance < best.distance)) {
        const [x0, y0] = this.toPixels(positionAt(track, time));
        best = { track, distance, offset: [x0 - px, y0 - py] };
      }
    }
    return best;
  }
}
