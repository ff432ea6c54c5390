import { randomBytes } from '@cella/primitives'

// A sender that had no answer sends the same leaves again, soon. So that they are one entry, the newest leaf hashes are
// held in two tables of fixed size: one fills up while the other is the past. What is older than both is a new entry,
// which takes nothing away: the first leaf with a tag counts.

/** Leaf hashes of one table; between one and two tables are held. */
const tableLeavesDefault = 2 ** 20

interface Table {
  /** The first 16 bytes of each hash. */
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
  readonly #wanted = new Uint32Array(4)
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
    if (this.find(hash) !== undefined) return
    if (this.#filling.count === this.tableLeaves) {
      this.#past = this.#filling
      this.#filling = newTable(this.tableLeaves)
    }
    const table = this.#filling
    const slot = this.#slotOf(table)
    table.words.set(this.#wanted, table.count * 4)
    table.indices[table.count] = index
    table.count += 1
    table.slots[slot] = table.count
  }

  /** The index of the leaf with this hash, or `undefined` when it is not among the newest. */
  find(hash: Uint8Array): number | undefined {
    for (let at = 0; at < 16; at++) this.#wantedBytes[at] = hash[at]!
    return this.#findIn(this.#filling) ?? (this.#past && this.#findIn(this.#past))
  }

  #findIn(table: Table): number | undefined {
    const place = table.slots[this.#slotOf(table)]!
    return place === 0 ? undefined : table.indices[place - 1]
  }

  /** The slot of the wanted hash, or the free one where it would go. */
  #slotOf({ words, slots }: Table): number {
    const [a, b, c, d] = this.#wanted as unknown as [number, number, number, number]
    const mask = slots.length - 1
    // Senders choose their leaves, so the place has a secret part.
    const mixed = Math.imul(a ^ this.#seed, 0x85ebca6b) ^ b
    let slot = (mixed ^ (mixed >>> 15)) & mask
    for (;;) {
      const place = slots[slot]!
      const at = (place - 1) * 4
      if (place === 0 || (words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d)) {
        return slot
      }
      slot = (slot + 1) & mask
    }
  }
}

function newTable(leaves: number): Table {
  return {
    words: new Uint32Array(leaves * 4),
    indices: new Float64Array(leaves),
    slots: new Uint32Array(leaves * 2),
    count: 0,
  }
}
