import { randomBytes } from '@cella/primitives'

// A sender that had no answer sends the same leaves again, soon. So that they are one entry, the newest leaf hashes are
// held in two tables of fixed size: one fills up while the other is the past. What is older than both is a new entry,
// which takes nothing away: the first leaf with a tag counts.

/** Leaf hashes of one table; between one and two tables are held. */
const tableLeavesDefault = 2 ** 20

const hashWords = 8

interface Table {
  /** Each hash. */
  readonly words: Uint32Array
  /** The log's index of each. */
  readonly indices: Float64Array
  /** Place + 1 in `words`, 0 for a free slot; at most half are taken. */
  readonly slots: Uint32Array
  count: number
}

/** Finds the first index of the newest leaves by their hash. Memory does not grow with the log. */
export class RecentLeaves {
  readonly tableLeaves: number
  readonly #seed = new Uint32Array(randomBytes(4).buffer)[0]!
  readonly #wanted = new Uint32Array(hashWords)
  readonly #wantedBytes = new Uint8Array(this.#wanted.buffer)
  #filling: Table
  #past: Table | undefined

  /** `tableLeaves` is a power of two. */
  constructor(tableLeaves = tableLeavesDefault) {
    this.tableLeaves = tableLeaves
    this.#filling = newTable(tableLeaves)
  }

  /** Takes the leaf with this hash (32 bytes) in, unless it is known. */
  add(hash: Uint8Array, index: number): void {
    this.#wantedBytes.set(hash)
    if (this.#past !== undefined && this.#findIn(this.#past) !== undefined) return
    let slot = this.#slotOf(this.#filling)
    if (this.#filling.slots[slot] !== 0) return
    if (this.#filling.count === this.tableLeaves) {
      this.#past = this.#filling
      this.#filling = newTable(this.tableLeaves)
      slot = this.#slotOf(this.#filling)
    }
    const table = this.#filling
    table.words.set(this.#wanted, table.count * hashWords)
    table.indices[table.count] = index
    table.count += 1
    table.slots[slot] = table.count
  }

  /** The index of the leaf with this hash, or `undefined` when it is not among the newest. */
  find(hash: Uint8Array): number | undefined {
    this.#wantedBytes.set(hash)
    return this.#findIn(this.#filling) ?? (this.#past && this.#findIn(this.#past))
  }

  #findIn(table: Table): number | undefined {
    const place = table.slots[this.#slotOf(table)]!
    return place === 0 ? undefined : table.indices[place - 1]
  }

  /** The slot of the wanted hash, or the free one where it would go. */
  #slotOf({ words, slots }: Table): number {
    const mask = slots.length - 1
    // Senders choose their leaves, so the place has a secret part.
    const mixed = Math.imul(this.#wanted[0]! ^ this.#seed, 0x85ebca6b) ^ this.#wanted[1]!
    let slot = (mixed ^ (mixed >>> 15)) & mask
    for (;;) {
      const place = slots[slot]!
      if (place === 0 || this.#isWanted(words, (place - 1) * hashWords)) return slot
      slot = (slot + 1) & mask
    }
  }

  /** Whole hashes are compared: leaves whose hashes only begin alike are not one. */
  #isWanted(words: Uint32Array, from: number): boolean {
    for (let at = 0; at < hashWords; at++) if (words[from + at] !== this.#wanted[at]) return false
    return true
  }
}

function newTable(leaves: number): Table {
  return {
    words: new Uint32Array(leaves * hashWords),
    indices: new Float64Array(leaves),
    slots: new Uint32Array(leaves * 2),
    count: 0,
  }
}
