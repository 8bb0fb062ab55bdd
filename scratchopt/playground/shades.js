// The ground of a function of two variables: bands of log(f − min f), darker where f is lower, with
// a thin line between two of them.

const BANDS = 16;
const CELL = 3; // f is computed at every third pixel; between, its logarithm is interpolated

// Levels on a grid of points: half a band is at the lowest hundredth, and BANDS − ½ at the highest.
function sampleLevels(excess, columns, rows) {
  const grid = new Float64Array(columns * rows);
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++) grid[j * columns + i] = Math.log(Math.max(excess(i, j), 1e-300));
  }
  const sorted = Float64Array.from(grid).sort();
  const least = sorted[Math.floor(sorted.length * 0.01)];
  const scale = (BANDS - 1) / (sorted[sorted.length - 1] - least);
  return grid.map((logarithm) => (logarithm - least) * scale + 0.5);
}

// Fills a rectangle of pixels of the canvas; `excess` is f − min f at a place within it, in pixels.
function drawShades(context, [left, top, wide, high], excess, inks, ratio) {
  const cell = CELL * Math.ceil(ratio);
  const [columns, rows] = [Math.ceil(wide / cell) + 2, Math.ceil(high / cell) + 2];
  const levels = sampleLevels((i, j) => excess(i * cell, j * cell), columns, rows);
  const [low, most, line] = [inks.low, inks.high, inks.contour].map(rgb);
  const shades = Array.from({ length: BANDS }, (_, i) => interpolate(low, most, i / (BANDS - 1)));
  const image = context.createImageData(wide, high);
  for (let y = 0; y < high; y++) {
    const j = Math.floor(y / cell), b = y / cell - j;
    for (let x = 0; x < wide; x++) {
      const i = Math.floor(x / cell), a = x / cell - i, n = j * columns + i;
      const [nw, ne, sw, se] = [levels[n], levels[n + 1], levels[n + columns], levels[n + columns + 1]];
      const level = (nw * (1 - a) + ne * a) * (1 - b) + (sw * (1 - a) + se * a) * b;
      const slope = Math.hypot(ne - nw + (se - sw - ne + nw) * b, sw - nw + (se - ne - sw + nw) * a) / cell;
      const offLine = Math.abs(level - Math.round(level)) / Math.max(slope, 1e-9); // in pixels
      const cover = level > 0.4 ? 0.55 * Math.max(0, Math.min(1, ratio / 2 + 0.5 - offLine)) : 0;
      const shade = shades[Math.max(0, Math.min(BANDS - 1, Math.floor(level)))];
      const at = 4 * (y * wide + x);
      for (let c = 0; c < 3; c++) image.data[at + c] = shade[c] + (line[c] - shade[c]) * cover;
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, left, top);
}

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
