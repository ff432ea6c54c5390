import { type Digest, encodeHex, type Json } from '@cella/bytes'
import {
  commitmentOfBody,
  type EventBody,
  type EventPlace,
  type EventReader,
  leafOfBody,
  makeEventBody,
  type SealedBody,
  sealEventBody,
} from '@cella/events'
import { type LogView, parseLeaf, TagStream } from '@cella/log'
import { EventLogError } from './error.ts'

const triesMax = 8
/** Leaves that the log takes at once. */
const batchLeavesMax = 256
const queuedMax = 4096

/** Something that happened and concerns an organisation. */
export interface EventDraft {
  readonly organisation: Digest
  readonly type: string
  readonly about: { readonly [name: string]: Json }
}

/** What a log of events stands on. */
export interface EventLogParts {
  readonly log: {
    readonly view: LogView
    append(leaves: readonly Uint8Array[]): Promise<number[]>
  }
  readonly bodies: {
    put(bodies: readonly SealedBody[]): Promise<void>
    erase(commitments: readonly Digest[]): Promise<void>
  }
  /** The key of an organisation's stream; undefined where its secret is not held here. */
  keyOf(organisation: Digest): Promise<Uint8Array | undefined>
}

interface Job {
  readonly leaves: readonly Uint8Array[]
  readonly events: readonly EventDraft[]
  readonly resolve: (placed: Placed) => void
  readonly reject: (error: unknown) => void
}

/** Where a job's leaves and events stand, verified; `undefined` for an event of an organisation without a stream here. */
export interface Placed {
  readonly leaves: readonly number[]
  readonly events: readonly (number | undefined)[]
}

interface Stream {
  readonly key: Uint8Array
  readonly tags: TagStream
}

interface Made {
  readonly draft: EventDraft
  readonly body: EventBody
  readonly leaf: Uint8Array
  readonly readers: readonly EventReader[]
  readonly key: Uint8Array
}

/**
 * Writes entries into the streams of organisations. Bodies are durable before their leaves are logged. An entry counts
 * once its leaf is the first with its tag; where a replica was faster, the event is written again under the next number.
 *
 * What is asked for while the log is at work goes into its next batch, so many at once cost as much as one.
 */
export class EventLog {
  readonly #parts: EventLogParts
  readonly #streams = new Map<Digest, Stream>()
  readonly #readers = new Map<Digest, readonly EventReader[]>()
  readonly #quiet = new Set<Digest>()
  readonly #queue: Job[] = []
  #isBusy = false

  constructor(parts: EventLogParts) {
    this.#parts = parts
  }

  /** Who reads an organisation's bodies from now on, as its documents in the log said last. At most 16. */
  setReaders(organisation: Digest, readers: readonly EventReader[]): void {
    this.#readers.set(organisation, readers.slice(0, 16))
  }

  /** Those of whom it is known who reads their events. */
  organisations(): Digest[] {
    return [...this.#readers.keys()]
  }

  /** The stream of an organisation; undefined where its secret is not held here. */
  async stream(organisation: Digest): Promise<Stream | undefined> {
    const known = this.#streams.get(organisation)
    if (known !== undefined) return known
    const key = await this.#parts.keyOf(organisation)
    if (key === undefined) return undefined
    const stream = { key, tags: new TagStream(this.#parts.log.view, key) }
    this.#streams.set(organisation, stream)
    return stream
  }

  /** Logs leaves and events together. Throws what the log or the host throws: then nothing may be acted on. */
  append(leaves: readonly Uint8Array[], events: readonly EventDraft[]): Promise<Placed> {
    return new Promise((resolve, reject) => {
      if (this.#queue.length >= queuedMax) {
        reject(new EventLogError('ERR_EVENTS_BUSY', `${queuedMax} entries wait for the log; try again in a moment`))
        return
      }
      this.#queue.push({ leaves, events, resolve, reject })
      void this.#work()
    })
  }

  /**
   * Cover traffic: an entry that says nothing for each organisation that had none since the call before, so that each
   * stream has at least one entry an interval and none tells by its rate that something happened.
   */
  async cover(): Promise<void> {
    const quiet = [...this.#quiet].filter((organisation) => this.#readers.has(organisation))
    for (const organisation of this.#readers.keys()) this.#quiet.add(organisation)
    if (quiet.length === 0) return
    await this.append(
      [],
      quiet.map((organisation) => ({ organisation, type: 'cover', about: {} })),
    )
    for (const organisation of quiet) this.#quiet.add(organisation)
  }

  async #work(): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    try {
      for (let jobs = this.#take(); jobs.length > 0; jobs = this.#take()) {
        try {
          await this.#write(jobs)
        } catch (error) {
          for (const { reject } of jobs) reject(error)
        }
      }
    } finally {
      this.#isBusy = false
    }
  }

  /** As many jobs as fit into one batch of the log, at least one. */
  #take(): Job[] {
    const jobs = this.#queue.splice(0, 1)
    let size = jobs.reduce((sum, job) => sum + job.leaves.length + job.events.length, 0)
    while (this.#queue.length > 0) {
      const [next] = this.#queue
      size += next!.leaves.length + next!.events.length
      if (size > batchLeavesMax) break
      jobs.push(this.#queue.shift()!)
    }
    return jobs
  }

  async #write(jobs: readonly Job[]): Promise<void> {
    const leaves = jobs.flatMap((job) => job.leaves)
    const indices: number[] = []
    const placed = new Map<EventDraft, number>()
    let open = jobs.flatMap((job) => job.events)
    for (let attempt = 0; attempt === 0 || open.length > 0; attempt++) {
      if (attempt === triesMax) {
        throw new EventLogError('ERR_EVENTS_LOST', 'other enclaves took every number that was tried for; try again')
      }
      const made = await this.#make(open)
      await this.#keep(made)
      const all = [...(attempt === 0 ? leaves : []), ...made.map(({ leaf }) => leaf)]
      const found: number[] = []
      for (let at = 0; at < all.length; at += batchLeavesMax) {
        found.push(...(await this.#parts.log.append(all.slice(at, at + batchLeavesMax))))
      }
      if (attempt === 0) indices.push(...found.splice(0, leaves.length))
      const lost = made.filter(({ draft, leaf }, at) => {
        const isFirst = this.#parts.log.view.firstIndexOf(parseLeaf(leaf).tag) === found[at]
        if (isFirst) placed.set(draft, found[at]!)
        return !isFirst
      })
      // Nobody will ever ask for these; a host that keeps them keeps ciphertext.
      void this.#parts.bodies.erase(lost.map(({ body }) => nameOf(body))).catch(() => undefined)
      open = lost.map(({ draft }) => draft)
    }
    for (const organisation of new Set([...placed.keys()].map((draft) => draft.organisation))) {
      this.#quiet.delete(organisation)
    }
    for (const { leaves: own, events, resolve } of jobs) {
      resolve({ leaves: indices.splice(0, own.length), events: events.map((draft) => placed.get(draft)) })
    }
  }

  /** Bodies and leaves under the next numbers of each stream. */
  async #make(drafts: readonly EventDraft[]): Promise<Made[]> {
    const made: Made[] = []
    const next = new Map<Digest, { n: number; previous: EventPlace['previous'] }>()
    for (const draft of drafts) {
      const stream = await this.stream(draft.organisation)
      if (stream === undefined) continue
      const { n, previous } = next.get(draft.organisation) ?? this.#end(stream)
      next.set(draft.organisation, { n: n + 1, previous })
      const body = makeEventBody({ n, previous, type: draft.type }, draft.about)
      const leaf = leafOfBody(body, stream.key)
      made.push({ draft, body, leaf, key: stream.key, readers: this.#readers.get(draft.organisation) ?? [] })
    }
    return made
  }

  #end({ tags }: Stream): { n: number; previous: EventPlace['previous'] } {
    const read = tags.read()
    const last = read.at(-1)
    if (last === undefined) return { n: 0, previous: null }
    const commitment = encodeHex(this.#parts.log.view.leafAt(last).commitment) as Digest
    return { n: read.length, previous: { n: read.length - 1, commitment } }
  }

  async #keep(made: readonly Made[]): Promise<void> {
    const readable = made.filter(({ readers }) => readers.length > 0)
    const sealed = readable.map(async ({ body, readers, key }) => ({
      commitment: nameOf(body),
      sealed: await sealEventBody(body, { readers, streamKey: key }),
    }))
    await this.#parts.bodies.put(await Promise.all(sealed))
  }
}

function nameOf(body: EventBody): Digest {
  return encodeHex(commitmentOfBody(body)) as Digest
}
