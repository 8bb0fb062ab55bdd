// The largest stable lr of a run, by the limit that its method knows.

/** The largest eigenvalue of a symmetric matrix of one or two rows. */
function largestEigenvalue(matrix) {
  if (matrix.length === 1) return matrix[0][0];
  const [[a, b], [, d]] = matrix;
  return (a + d) / 2 + Math.hypot((a - d) / 2, b);
}

/**
 * The largest lr at which a track's method is stable on the quadratic that the function is about
 * iterates[k]; null where none is known, or where it curves down.
 */
function largestStableLr(track, k) {
  const { method, values, parameters } = track.setting;
  const variant = variantOf(method, values);
  if (!variant.limit) return null;
  const f = PLAYGROUND.functions[track.setting.function];
  const x = track.iterates[k];
  const penalty = variant.decoupled ? 0 : values.weight_decay;
  let scale = x.map(() => 1);
  if (variant.preconditioner) {
    if (k === 0) return null;
    const buffers = variant.buffers.map(({ name }) => track.buffers[k][name]);
    const numbers = { ...values, t: k };
    scale = x.map((_, i) => runProgram(variant.preconditioner, buffers.map((b) => b[i]), numbers).result);
  }
  const curvature = f.hessian(x, parameters).map((row, i) => row.map((h, j) =>
    (h + (i === j ? penalty : 0)) / Math.sqrt(scale[i] * scale[j])));
  const greatest = largestEigenvalue(curvature);
  if (!(greatest > 0 && Number.isFinite(greatest))) return null;
  // The limit of lr·λ; a decoupled weight decay takes a part of it that grows with lr.
  const [most, less] = [0, 1].map((lr) => runProgram(variant.limit, [], { ...values, lr, t: k + 1 }).result);
  return most / (greatest + most - less);
}
