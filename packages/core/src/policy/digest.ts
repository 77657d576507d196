/**
 * A short name for a text: 64 bits in hexadecimal, the same everywhere, computed at once. It tells versions apart; it is no
 * signature, and nothing that must be hard to forge may rest on it.
 */
export function digestOf(text: string): string {
  let high = 0xdeadbeef
  let low = 0x41c6ce57
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    high = Math.imul(high ^ unit, 2654435761)
    low = Math.imul(low ^ unit, 1597334677)
  }
  return hex(mix(high, low)) + hex(mix(low, high))
}

function mix(one: number, other: number): number {
  return Math.imul(one ^ (one >>> 16), 2246822507) ^ Math.imul(other ^ (other >>> 13), 3266489909)
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0')
}
