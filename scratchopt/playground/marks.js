// The marks of the pictures: balls, rings, arrows, and text that can be read on any ground.

const BALL = 9; // the radius, in pixels

function drawLine(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function fillDisc(context, [x, y], radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function drawRing(context, [x, y], radius, colour, inks) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.lineWidth = 5;
  context.strokeStyle = inks.paper;
  context.stroke();
  context.lineWidth = 2;
  context.strokeStyle = colour;
  context.stroke();
}

// A ball with a rim; a spot on it turns as it rolls.
function drawBall(context, [x, y], colour, angle, inks) {
  context.fillStyle = inks.paper;
  fillDisc(context, [x, y], BALL + 1.5);
  context.fillStyle = colour;
  fillDisc(context, [x, y], BALL);
  if (angle === null) return;
  context.fillStyle = inks.paper;
  fillDisc(context, [x + Math.cos(angle) * BALL * 0.5, y + Math.sin(angle) * BALL * 0.5], 2);
}

// A mark at the edge, that points to where a run is outside.
function drawWedge(context, [x, y], angle, colour, inks) {
  context.save();
  context.translate(x, y);
  context.rotate(angle);
  context.beginPath();
  context.moveTo(2, 0);
  context.lineTo(-13, -9);
  context.lineTo(-13, 9);
  context.closePath();
  context.fillStyle = colour;
  context.strokeStyle = inks.paper;
  context.lineWidth = 3;
  context.stroke();
  context.fill();
  context.restore();
}

function drawArrow(context, from, to, most, colour, dash, inks) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const full = Math.hypot(dx, dy);
  if (!(full > 4)) return;
  const length = Math.min(full, most);
  const [ux, uy] = [dx / full, dy / full];
  const [tipX, tipY] = [from[0] + ux * length, from[1] + uy * length];
  const head = Math.min(9, length * 0.6);
  const wings = [
    [tipX - ux * head - uy * head * 0.45, tipY - uy * head + ux * head * 0.45],
    [tipX - ux * head + uy * head * 0.45, tipY - uy * head - ux * head * 0.45],
  ];
  for (const [stroke, width] of [[inks.paper, 5], [colour, 2]]) {
    context.strokeStyle = context.fillStyle = stroke;
    context.lineWidth = width;
    context.setLineDash(stroke === colour ? dash : []);
    drawLine(context, ...from, tipX - ux * head * 0.7, tipY - uy * head * 0.7);
    context.setLineDash([]);
    context.beginPath();
    context.moveTo(tipX, tipY);
    context.lineTo(...wings[0]);
    context.lineTo(...wings[1]);
    context.closePath();
    if (stroke === colour) context.fill();
    else context.stroke();
  }
}

// Text that can be read on any ground.
function drawText(context, text, x, y, inks) {
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeStyle = inks.paper;
  context.strokeText(text, x, y);
  context.fillStyle = inks.ink;
  context.fillText(text, x, y);
}
