/** What the benchmarks do with their figures. */

const sorted = (values) => [...values].sort((a, b) => a - b)
export const median = (values) => sorted(values)[values.length >> 1]
export const rounded = (value) => Number(value.toFixed(3))
export const medianOf = (samples, key) => rounded(median(samples.map((sample) => sample[key])))

/** The median of the ratios of two cases' samples, round by round, and the least and the greatest of them. */
export function ratioOf(samples, others, key) {
  const ratios = sorted(samples.map((sample, round) => sample[key] / others[round][key]))
  return { median: rounded(median(ratios)), spread: `${ratios[0].toFixed(2)} - ${ratios.at(-1).toFixed(2)}` }
}
