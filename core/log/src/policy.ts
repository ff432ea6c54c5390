import { encodeUtf8 } from '@cella/bytes'
import { encodeVkey, type NoteKey, parseVkey, samePublicKey } from './keys.ts'
import { malformed, parseText } from './parsing.ts'

// c2sp.org/tlog-policy, one definition a line, names defined before use:
//
//   log VKEY [URL]
//   witness NAME VKEY [URL]
//   group NAME any|all|NUMBER MEMBER…
//   quorum NAME|none

export interface PolicyLog {
  /** Its name is the log's origin. */
  readonly key: NoteKey
  readonly url: string | undefined
}

export interface PolicyWitness {
  readonly name: string
  readonly key: NoteKey
  readonly url: string | undefined
}

export interface PolicyGroup {
  readonly name: string
  /** How many members must have witnessed, 1 to all of them. */
  readonly threshold: number
  /** Names of witnesses and earlier groups. */
  readonly members: readonly string[]
}

export interface LogPolicy {
  readonly logs: readonly PolicyLog[]
  readonly witnesses: readonly PolicyWitness[]
  readonly groups: readonly PolicyGroup[]
  /** A witness or group; `undefined` for `none`: no cosignature is asked for. */
  readonly quorum: string | undefined
}

const policyBytesMax = 100_000
const linesMax = 1_000

/** A policy file. Throws ERR_LOG_MALFORMED naming the line. */
export function parseLogPolicy(bytes: Uint8Array): LogPolicy {
  const text = parseText(bytes, 'log policy', policyBytesMax)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused.
  if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(text)) throw malformed('log policy', 'has a control character')
  if (!text.endsWith('\n')) throw malformed('log policy', 'does not end in a newline')
  const lines = text.slice(0, -1).split('\n')
  if (lines.length > linesMax) throw malformed('log policy', `has more than ${linesMax} lines`)
  const reader = new PolicyReader()
  lines.forEach((line, index) => {
    const words = line.split(/[ \t]+/).filter((word) => word !== '')
    if (words.length > 0 && !words[0]!.startsWith('#')) reader.line(words, `log policy line ${index + 1}`)
  })
  return reader.end()
}

class PolicyReader {
  readonly #logs: PolicyLog[] = []
  readonly #witnesses: PolicyWitness[] = []
  readonly #groups: PolicyGroup[] = []
  readonly #names = new Set<string>()
  readonly #grouped = new Set<string>()
  #quorum: { name: string | undefined } | undefined

  line([keyword, ...words]: string[], field: string): void {
    switch (keyword) {
      case 'log':
        this.#log(words, field)
        break
      case 'witness':
        this.#witness(words, field)
        break
      case 'group':
        this.#group(words, field)
        break
      case 'quorum':
        this.#quorumLine(words, field)
        break
      default:
        throw malformed(field, 'begins with neither log, witness, group nor quorum')
    }
  }

  end(): LogPolicy {
    if (this.#quorum === undefined) throw malformed('log policy', 'has no quorum line')
    return { logs: this.#logs, witnesses: this.#witnesses, groups: this.#groups, quorum: this.#quorum.name }
  }

  #log(words: string[], field: string): void {
    const [vkey, url] = words
    if (vkey === undefined || words.length > 2) throw malformed(field, 'is not of the form: log VKEY [URL]')
    const key = parseVkey(vkey)
    if (key.type !== 'note') throw malformed(field, 'names a log by a key that can only cosign')
    this.#refuseDuplicate(this.#logs, key, field)
    this.#logs.push({ key, url })
  }

  #witness(words: string[], field: string): void {
    const [name, vkey, url] = words
    if (name === undefined || vkey === undefined || words.length > 3) {
      throw malformed(field, 'is not of the form: witness NAME VKEY [URL]')
    }
    const key = parseVkey(vkey)
    if (key.type !== 'cosignature') throw malformed(field, 'names a witness by a key that can’t cosign')
    this.#refuseDuplicate(this.#witnesses, key, field)
    this.#define(name, field)
    this.#witnesses.push({ name, key, url })
  }

  #group(words: string[], field: string): void {
    const [name, count, ...members] = words
    if (name === undefined || count === undefined || members.length === 0) {
      throw malformed(field, 'is not of the form: group NAME any|all|NUMBER MEMBER…')
    }
    const threshold = count === 'any' ? 1 : count === 'all' ? members.length : Number(count)
    if (!/^(?:any|all|[1-9][0-9]{0,3})$/.test(count) || threshold > members.length) {
      throw malformed(field, `asks for ${count} of ${members.length} members`)
    }
    for (const member of members) {
      if (!this.#names.has(member)) throw malformed(field, `names ${member} before it is defined`)
      // Once at most, so that no witness counts in two ways.
      if (this.#grouped.has(member)) throw malformed(field, `names ${member}, which is a member already`)
      this.#grouped.add(member)
    }
    this.#define(name, field)
    this.#groups.push({ name, threshold, members })
  }

  #quorumLine(words: string[], field: string): void {
    const [name] = words
    if (name === undefined || words.length > 1) throw malformed(field, 'is not of the form: quorum NAME|none')
    if (this.#quorum !== undefined) throw malformed(field, 'is a second quorum line')
    if (name !== 'none' && !this.#names.has(name)) throw malformed(field, `names ${name} before it is defined`)
    this.#quorum = { name: name === 'none' ? undefined : name }
  }

  #define(name: string, field: string): void {
    if (name === 'none') throw malformed(field, 'defines the name none')
    if (this.#names.has(name)) throw malformed(field, `defines ${name} a second time`)
    this.#names.add(name)
  }

  #refuseDuplicate(earlier: readonly { key: NoteKey }[], key: NoteKey, field: string): void {
    for (const known of earlier) {
      if (samePublicKey(known.key, key)) throw malformed(field, 'repeats the public key of an earlier line')
      // Two keys with one name and id could not be told apart in a note.
      if (known.key.name === key.name && known.key.id === key.id) throw malformed(field, 'repeats a name and key id')
    }
  }
}

/** The text of a policy; parsing it gives the policy again. */
export function encodeLogPolicy(policy: LogPolicy): Uint8Array {
  const lines = [
    ...policy.logs.map(({ key, url }) => ['log', encodeVkey(key), url]),
    ...policy.witnesses.map(({ name, key, url }) => ['witness', name, encodeVkey(key), url]),
    ...policy.groups.map(({ name, threshold, members }) => ['group', name, String(threshold), ...members]),
    ['quorum', policy.quorum ?? 'none'],
  ]
  return encodeUtf8(lines.map((words) => `${words.filter((word) => word !== undefined).join(' ')}\n`).join(''))
}

export interface QuorumResult {
  /** Whether those who cosigned are enough. */
  readonly satisfied: boolean
  /** Those who cosigned and count: named by the quorum itself or by a group below it. */
  readonly witnesses: readonly PolicyWitness[]
}

/** Judges which witnesses (by policy name) have cosigned. */
export function evaluateQuorum(policy: LogPolicy, cosigned: ReadonlySet<string>): QuorumResult {
  if (policy.quorum === undefined) return { satisfied: true, witnesses: [] }
  const counted: PolicyWitness[] = []
  // Groups only name what is defined before them, so this ends.
  const witnessed = (name: string): boolean => {
    const witness = policy.witnesses.find((candidate) => candidate.name === name)
    if (witness !== undefined) {
      if (cosigned.has(name)) counted.push(witness)
      return cosigned.has(name)
    }
    const group = policy.groups.find((candidate) => candidate.name === name)
    if (group === undefined) return false
    return group.members.filter(witnessed).length >= group.threshold
  }
  return { satisfied: witnessed(policy.quorum), witnesses: counted }
}
