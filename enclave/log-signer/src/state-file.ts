import { closeSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { canonicalJson, encodeUtf8, uint64Bytes } from '@cella/bytes'
import type { TeeDriver } from '@cella/tee'
import { SignerError } from './error.ts'
import { sealAs, unsealAs, writeDurably } from './sealed-files.ts'
import { parseState, type SignerState, stateJson } from './state.ts'

// What was signed last, in a file of two slots of 4096 bytes that are written in turn, so that one is whole whenever the
// other is torn:
//   length u64 | sealed canonical JSON {"generation", "state"} | zeros
// Generation g lies in slot g mod 2. The file never grows and never moves: a write is one sync of one page.

const slotBytes = 4096
const lengthBytes = 8
const fileName = 'state.sealed'

/** The durable memory of a signer. */
export class StateFile {
  readonly #tee: TeeDriver
  readonly #origin: string
  readonly #handle: number
  #generation: number
  #state: SignerState

  private constructor(tee: TeeDriver, origin: string, { handle, kept }: { handle: number; kept: Kept }) {
    this.#tee = tee
    this.#origin = origin
    this.#handle = handle
    this.#generation = kept.generation
    this.#state = kept.state
  }

  /** Opens what `createState` made. Throws ERR_SIGNER_STATE. */
  static async open(tee: TeeDriver, { folder, origin }: { folder: string; origin: string }): Promise<StateFile> {
    const kept = await readKept(tee, { folder, origin })
    if (kept === undefined) throw new SignerError('ERR_SIGNER_STATE', 'what was signed is lost')
    return new StateFile(tee, origin, { handle: openSync(join(folder, fileName), 'r+'), kept })
  }

  get state(): SignerState {
    return this.#state
  }

  /**
   * Returns once `state` is durable. Written without a detour over other threads: the signer has nothing else to do before.
   * After an error the state is the one before, and the next write goes to the same slot.
   */
  async write(state: SignerState): Promise<void> {
    const generation = this.#generation + 1
    const slot = await slotOf(this.#tee, { origin: this.#origin, kept: { generation, state } })
    const written = writeSync(this.#handle, slot, 0, slotBytes, (generation % 2) * slotBytes)
    if (written !== slotBytes) throw new Error(`${fileName}: ${written} of ${slotBytes} bytes were written`)
    fdatasyncSync(this.#handle)
    this.#generation = generation
    this.#state = state
  }

  close(): void {
    closeSync(this.#handle)
  }
}

interface Kept {
  readonly generation: number
  readonly state: SignerState
}

/** What was signed last; `undefined` where no file is. Throws ERR_SIGNER_STATE. */
export async function readState(
  tee: TeeDriver,
  at: { folder: string; origin: string },
): Promise<SignerState | undefined> {
  return (await readKept(tee, at))?.state
}

/** Makes the file, with `state` in both slots, in place of any that is there. */
export async function createState(
  tee: TeeDriver,
  { folder, origin }: { folder: string; origin: string },
  state: SignerState,
): Promise<void> {
  const bytes = new Uint8Array(2 * slotBytes)
  for (const generation of [0, 1]) {
    bytes.set(await slotOf(tee, { origin, kept: { generation, state } }), generation * slotBytes)
  }
  await writeDurably(folder, fileName, bytes)
}

async function readKept(
  tee: TeeDriver,
  { folder, origin }: { folder: string; origin: string },
): Promise<Kept | undefined> {
  let bytes: Uint8Array
  try {
    bytes = readFileSync(join(folder, fileName))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const slots = await Promise.all(
    [0, 1].map((place) =>
      keptIn(tee, { origin, place, slot: bytes.subarray(place * slotBytes, (place + 1) * slotBytes) }),
    ),
  )
  const whole = slots.filter((kept) => kept !== undefined).sort((a, b) => b.generation - a.generation)
  // One that does not open was torn while it was written, and nothing was signed by it. Two are never torn.
  if (bytes.length !== 2 * slotBytes || whole[0] === undefined) {
    throw new SignerError('ERR_SIGNER_STATE', 'state: sealed by another measurement, or altered')
  }
  return whole[0]
}

async function slotOf(tee: TeeDriver, { origin, kept }: { origin: string; kept: Kept }): Promise<Uint8Array> {
  const { generation, state } = kept
  const sealed = await sealAs(tee, 'state', encodeUtf8(canonicalJson({ generation, state: stateJson(state, origin) })))
  if (lengthBytes + sealed.length > slotBytes) throw new RangeError(`${fileName}: ${sealed.length} bytes in a slot`)
  const slot = new Uint8Array(slotBytes)
  slot.set(uint64Bytes(sealed.length))
  slot.set(sealed, lengthBytes)
  return slot
}

/** `undefined` for a slot that is not whole. Throws ERR_SIGNER_STATE for one of another log. */
async function keptIn(
  tee: TeeDriver,
  { origin, place, slot }: { origin: string; place: number; slot: Uint8Array },
): Promise<Kept | undefined> {
  if (slot.length !== slotBytes) return undefined
  const length = Number(new DataView(slot.buffer, slot.byteOffset).getBigUint64(0))
  const end = lengthBytes + length
  if (end > slotBytes || slot.subarray(end).some((byte) => byte !== 0)) return undefined
  let opened: Uint8Array
  try {
    opened = await unsealAs(tee, 'state', slot.subarray(lengthBytes, end))
  } catch (cause) {
    if (!(cause instanceof SignerError)) throw cause
    return undefined
  }
  const kept = parseState(opened, origin)
  return kept.generation % 2 === place ? kept : undefined
}
