// The lines of a regression over its data.

class Fit {
  constructor(canvas) {
    this.canvas = canvas;
  }

  draw({ setting, tracks, inks }, time) {
    const { data } = PLAYGROUND.functions[setting.function];
    const { context, width, height } = prepare(this.canvas);
    const ends = [Math.min(...data.x), Math.max(...data.x)];
    const [low, high] = [Math.min(0, ...data.y), Math.max(...data.y)];
    const x = linearScale(ends, [12, width - 12]);
    const y = linearScale([low, high], [height - 12, 12]);
    context.strokeStyle = inks.line;
    context.strokeRect(0.5, 0.5, width - 1, height - 1);
    context.fillStyle = inks.soft;
    context.globalAlpha = 0.55;
    data.x.forEach((at, i) => fillDisc(context, [x(at), y(data.y[i])], 1.8));
    context.globalAlpha = 1;
    context.lineWidth = 2;
    for (const track of tracks) {
      const [slope, intercept] = positionAt(track, time);
      context.strokeStyle = inks.colour(track.setting.method);
      context.setLineDash(inks.dash(track.setting.method));
      drawLine(context, x(ends[0]), y(intercept + slope * ends[0]), x(ends[1]), y(intercept + slope * ends[1]));
    }
    context.setLineDash([]);
  }
}
