import { ByteReader, concatBytes, FormatError, uint32Bytes } from '@cella/bytes'
import { TeeError } from '../error.ts'

// TPM 2.0 Library Specification, part 1 (architecture), 2 (structures), 3 (commands). All integers are big-endian.

const tagNoSessions = 0x8001
const tagSessions = 0x8002
const passwordSession = 0x40000009
/** TPM_RH_OWNER. */
const ownerHandle = 0x40000001

const algorithmNull = 0x0010
const algorithms: Readonly<Record<number, 'sha1' | 'sha256' | 'sha384' | 'sha512'>> = {
  4: 'sha1',
  11: 'sha256',
  12: 'sha384',
  13: 'sha512',
}
export type TpmHash = (typeof algorithms)[number]

const code = {
  nvDefineSpace: 0x12a,
  nvWrite: 0x137,
  nvRead: 0x14e,
  quote: 0x158,
  nvReadPublic: 0x169,
  readPublic: 0x173,
  pcrRead: 0x17e,
} as const

/** TPM_RC_RETRY, TPM_RC_YIELDED, TPM_RC_TESTING: the same command may be sent again. */
const passingCodes: readonly number[] = [0x922, 0x908, 0x90a]
/** TPM_RC_HANDLE with parameter, handle and session bits masked away: there is no such object. */
const noSuchHandle = 0x08b

/** The TPM's own refusal. `passing` where sending it again may help. */
export class TpmRefusal extends TeeError {
  readonly passing: boolean
  readonly absent: boolean
  constructor(what: string, responseCode: number) {
    super('ERR_TEE_REFUSED', `${what}: the TPM answered 0x${responseCode.toString(16).padStart(3, '0')}`)
    this.passing = passingCodes.includes(responseCode)
    this.absent = (responseCode & 0x80) !== 0 && (responseCode & 0x0bf) === noSuchHandle
  }
}

/** A command and how its answer is read. */
export interface TpmCommand<Answer> {
  readonly name: string
  readonly bytes: Uint8Array
  /** The parameters of a good answer. Throws FormatError. */
  readonly read: (parameters: ByteReader) => Answer
  readonly withSession: boolean
}

function uint16Bytes(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff)
}

/** TPM2B: a length of two bytes before the bytes. */
function sized(bytes: Uint8Array): Uint8Array {
  return concatBytes(uint16Bytes(bytes.length), bytes)
}

function takeSized(reader: ByteReader, field: string, lengthMax: number): Uint8Array {
  const length = reader.uint16(`${field} length`)
  if (length > lengthMax) throw new FormatError(field, `has ${length} bytes, at most ${lengthMax}`)
  return reader.take(length, field).slice()
}

function command<Answer>(
  name: keyof typeof code,
  { handles, parameters, authorised }: { handles: number[]; parameters: Uint8Array; authorised: boolean },
  read: (parameters: ByteReader) => Answer,
): TpmCommand<Answer> {
  // An empty password: the indexes and the key of a vTPM have no secret of their own.
  const session = concatBytes(
    uint32Bytes(passwordSession),
    sized(new Uint8Array()),
    Uint8Array.of(0),
    sized(new Uint8Array()),
  )
  const body = concatBytes(
    ...handles.map(uint32Bytes),
    ...(authorised ? [uint32Bytes(session.length), session] : []),
    parameters,
  )
  const header = concatBytes(
    uint16Bytes(authorised ? tagSessions : tagNoSessions),
    uint32Bytes(10 + body.length),
    uint32Bytes(code[name]),
  )
  return { name, bytes: concatBytes(header, body), read, withSession: authorised }
}

/**
 * What a TPM answered to `command`. Throws TpmRefusal for its own no, TeeError ERR_TEE_MALFORMED for anything that is
 * not exactly an answer to this command: a wrong tag, a length that is not the bytes', parameters with more after them.
 */
export function readAnswer<Answer>({ name, read, withSession }: TpmCommand<Answer>, answer: Uint8Array): Answer {
  try {
    const reader = new ByteReader(answer)
    const tag = reader.uint16('tag')
    const size = reader.uint32('size')
    if (size !== answer.length) throw new FormatError('size', `is ${size}, the answer has ${answer.length} bytes`)
    const responseCode = reader.uint32('response code')
    if (responseCode !== 0) {
      if (tag !== tagNoSessions) throw new FormatError('tag', 'of an error has sessions')
      reader.end('error answer')
      throw new TpmRefusal(name, responseCode)
    }
    if (tag !== (withSession ? tagSessions : tagNoSessions)) throw new FormatError('tag', `is 0x${tag.toString(16)}`)
    if (!withSession) return whole(reader, read)
    const length = reader.uint32('parameter size')
    const value = whole(new ByteReader(reader.take(length, 'parameters')), read)
    // TPMS_AUTH_RESPONSE of a password session: empty nonce, attributes, empty acknowledgement.
    takeSized(reader, 'session nonce', 0)
    reader.uint8('session attributes')
    takeSized(reader, 'session acknowledgement', 0)
    reader.end('answer')
    return value
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    throw new TeeError('ERR_TEE_MALFORMED', `${name}: ${cause.message}`, { cause })
  }
}

function whole<Answer>(reader: ByteReader, read: (reader: ByteReader) => Answer): Answer {
  const value = read(reader)
  reader.end('answer parameters')
  return value
}

/** Bytes that an index holds (TPM2_NV_ReadPublic). */
export function nvReadPublic(index: number): TpmCommand<number> {
  return command('nvReadPublic', { handles: [index], parameters: new Uint8Array(), authorised: false }, (reader) => {
    const area = new ByteReader(takeSized(reader, 'public area', 128))
    const found = area.uint32('index')
    if (found !== index) throw new FormatError('index', `is 0x${found.toString(16)}, asked for 0x${index.toString(16)}`)
    area.uint16('name algorithm')
    area.uint32('attributes')
    takeSized(area, 'policy', 64)
    const size = area.uint16('data size')
    area.end('public area')
    takeSized(reader, 'name', 66)
    return size
  })
}

/** `length` bytes from `offset` of an index, with the owner's authority (TPM2_NV_Read). */
export function nvRead(index: number, offset: number, length: number): TpmCommand<Uint8Array> {
  const parameters = concatBytes(uint16Bytes(length), uint16Bytes(offset))
  return command('nvRead', { handles: [ownerHandle, index], parameters, authorised: true }, (reader) => {
    const data = takeSized(reader, 'data', length)
    if (data.length !== length) throw new FormatError('data', `has ${data.length} bytes, asked for ${length}`)
    return data
  })
}

/** Writes `data` at the beginning of an index (TPM2_NV_Write). */
export function nvWrite(index: number, data: Uint8Array): TpmCommand<void> {
  const parameters = concatBytes(sized(data), uint16Bytes(0))
  return command('nvWrite', { handles: [ownerHandle, index], parameters, authorised: true }, () => undefined)
}

/** Makes an index of `size` bytes that owner and password may read and write (TPM2_NV_DefineSpace). */
export function nvDefineSpace(index: number, size: number): TpmCommand<void> {
  // OWNERWRITE, AUTHWRITE, OWNERREAD, AUTHREAD.
  const attributes = 0x0006_0006
  const area = concatBytes(
    uint32Bytes(index),
    uint16Bytes(0x000b),
    uint32Bytes(attributes),
    sized(new Uint8Array()),
    uint16Bytes(size),
  )
  const parameters = concatBytes(sized(new Uint8Array()), sized(area))
  return command('nvDefineSpace', { handles: [ownerHandle], parameters, authorised: true }, () => undefined)
}

/** The name algorithm of a loaded or persistent key: what its qualifying data may be as long as (TPM2_ReadPublic). */
export function readPublic(handle: number): TpmCommand<TpmHash> {
  return command('readPublic', { handles: [handle], parameters: new Uint8Array(), authorised: false }, (reader) => {
    const area = new ByteReader(takeSized(reader, 'public area', 1024))
    area.uint16('type')
    const algorithm = algorithms[area.uint16('name algorithm')]
    if (algorithm === undefined) throw new FormatError('name algorithm', 'is not SHA-1, SHA-256, SHA-384 or SHA-512')
    takeSized(reader, 'name', 66)
    takeSized(reader, 'qualified name', 66)
    return algorithm
  })
}

export interface TpmQuote {
  /** TPMS_ATTEST. */
  readonly message: Uint8Array
  /** TPMT_SIGNATURE: RSASSA with SHA-256. */
  readonly signature: Uint8Array
  /** From the message. */
  readonly pcrDigest: Uint8Array
}

/** A quote over `data` and the SHA-256 bank's PCRs, signed in the key's own scheme (TPM2_Quote). */
export function quote(key: number, data: Uint8Array, pcrs: readonly number[]): TpmCommand<TpmQuote> {
  const parameters = concatBytes(sized(data), uint16Bytes(algorithmNull), selection(pcrs))
  return command('quote', { handles: [key], parameters, authorised: true }, (reader) => {
    const message = takeSized(reader, 'quoted', 1024)
    const scheme = reader.uint16('signature algorithm')
    // TPM_ALG_RSASSA: the scheme of the keys that sign here.
    if (scheme !== 0x0014) throw new FormatError('signature algorithm', `is 0x${scheme.toString(16)}, expected RSASSA`)
    if (reader.uint16('signature hash') !== 0x000b) throw new FormatError('signature hash', 'is not SHA-256')
    const value = takeSized(reader, 'signature', 1024)
    const signature = concatBytes(uint16Bytes(scheme), uint16Bytes(0x000b), sized(value))
    return { message, signature, pcrDigest: quotedPcrs(message, data, pcrs) }
  })
}

/** Reads TPMS_ATTEST (part 2 §10.12.8): it has to be the quote that was asked for. */
function quotedPcrs(message: Uint8Array, data: Uint8Array, pcrs: readonly number[]): Uint8Array {
  const reader = new ByteReader(message)
  if (reader.uint32('magic') !== 0xff544347) throw new FormatError('magic', 'is not TPM_GENERATED')
  if (reader.uint16('attestation type') !== 0x8018) throw new FormatError('attestation type', 'is not a quote')
  takeSized(reader, 'qualified signer', 66)
  const extra = takeSized(reader, 'extra data', 64)
  if (extra.toHex() !== data.toHex()) throw new FormatError('extra data', 'is not what was asked for')
  reader.take(17, 'clock')
  reader.take(8, 'firmware version')
  const wanted = selection(pcrs)
  const found = reader.take(wanted.length, 'PCR selection')
  if (found.toHex() !== wanted.toHex()) throw new FormatError('PCR selection', 'is not what was asked for')
  const digest = takeSized(reader, 'PCR digest', 64)
  reader.end('quoted')
  return digest
}

/** Values of at most eight PCRs at once: which ones, and their 32 bytes each (TPM2_PCR_Read). */
export function pcrRead(pcrs: readonly number[]): TpmCommand<ReadonlyMap<number, Uint8Array>> {
  return command('pcrRead', { handles: [], parameters: selection(pcrs), authorised: false }, (reader) => {
    reader.uint32('update counter')
    if (reader.uint32('selection count') !== 1) throw new FormatError('selection count', 'is not 1')
    if (reader.uint16('bank') !== 0x000b) throw new FormatError('bank', 'is not SHA-256')
    const bits = reader.take(reader.uint8('selection size'), 'selection')
    const given = [...bits].flatMap((byte, at) =>
      [...Array(8).keys()].filter((bit) => byte & (1 << bit)).map((bit) => at * 8 + bit),
    )
    if (given.some((pcr) => !pcrs.includes(pcr))) throw new FormatError('selection', 'has a PCR that was not asked for')
    const count = reader.uint32('digest count')
    if (count !== given.length || count > 8)
      throw new FormatError('digest count', `is ${count} for ${given.length} PCRs`)
    return new Map(
      given.map((pcr) => {
        const value = takeSized(reader, `PCR ${pcr}`, 32)
        if (value.length !== 32) throw new FormatError(`PCR ${pcr}`, `has ${value.length} bytes`)
        return [pcr, value]
      }),
    )
  })
}

/** TPML_PCR_SELECTION of the SHA-256 bank, 24 bits. */
function selection(pcrs: readonly number[]): Uint8Array {
  const bits = new Uint8Array(3)
  for (const pcr of pcrs) bits[pcr >> 3]! |= 1 << (pcr & 7)
  return concatBytes(uint32Bytes(1), uint16Bytes(0x000b), Uint8Array.of(3), bits)
}
