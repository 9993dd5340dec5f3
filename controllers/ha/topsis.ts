/**
 * TOPSIS: ranks alternatives by how near they are to the best and how far from the worst value of every criterion. All criteria are
 * costs (less is better). Each is divided by its Euclidean norm, so that their units do not matter, and then weighted.
 *
 * @param rows one row of criteria for each alternative.
 * @param weights one for each criterion; only their proportion counts.
 * @returns for each row a score in 0..1, the highest being the best; all 0 where the alternatives do not differ.
 */
export function topsis(rows: readonly (readonly number[])[], weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const columns = weights.map((weight, j) => {
    const norm = Math.sqrt(rows.reduce((sum, row) => sum + (row[j] ?? 0) ** 2, 0)) || 1;
    const scaled = rows.map((row) => (row[j] ?? 0) / norm);
    const best = scaled.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
    const worst = scaled.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
    return { weight: weight / total, scaled, best, worst };
  });
  return rows.map((_, i) => {
    const distance = (end: "best" | "worst"): number =>
      Math.sqrt(
        columns.reduce((sum, column) => sum + (column.weight * ((column.scaled[i] ?? 0) - column[end])) ** 2, 0),
      );
    const toBest = distance("best");
    const toWorst = distance("worst");
    return toBest + toWorst === 0 ? 0 : toWorst / (toBest + toWorst);
  });
}
