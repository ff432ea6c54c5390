import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { ByteReader, concatBytes, encodeUtf8, uint32Bytes } from '@cella/bytes'
import { sha256 } from '@cella/primitives'

// A TPM 2.0 that knows the commands of an Azure confidential VM: NV indexes with the owner's empty password, one
// attestation key, a SHA-256 bank of 24 PCRs. It reads each command strictly, as a TPM does.

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })

/** Modulus of the attestation key, 256 bytes, as its JWK has it. */
export const attestationKeyJwk = createPublicKey(privateKey).export({ format: 'jwk' }) as { n: string; e: string }

export interface Vtpm {
  /** The HCL report for what is in the user data's index: 64 bytes, or `undefined` where there is none. */
  readonly hclReport: (userData: Uint8Array | undefined) => Promise<Uint8Array>
  readonly pcrs: Uint8Array[]
  /** TPM_ALG of the key's name; SHA-256 when absent. */
  readonly nameAlgorithm?: number
  /** Changes or replaces an answer: bytes, a response code, or nothing at all. */
  readonly fault?: (command: string, answer: Uint8Array, count: number) => Uint8Array | number | 'silence' | 'hang-up'
}

const names: Readonly<Record<number, string>> = {
  298: 'nvDefineSpace',
  311: 'nvWrite',
  334: 'nvRead',
  344: 'quote',
  361: 'nvReadPublic',
  371: 'readPublic',
  382: 'pcrRead',
}
const hclIndex = 0x01400001
const userIndex = 0x01400002
const noSuchHandle = 0x18b
const sessionAnswer = Uint8Array.of(0, 0, 1, 0, 0)

const uint16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff)
const sized = (bytes: Uint8Array): Uint8Array => concatBytes(uint16(bytes.length), bytes)

/** The bytes of an answer; `session` where the command had one. */
export function tpmAnswer(code: number, parameters: Uint8Array = new Uint8Array(), session = false): Uint8Array {
  const body = session ? concatBytes(uint32Bytes(parameters.length), parameters, sessionAnswer) : parameters
  return concatBytes(uint16(session ? 0x8002 : 0x8001), uint32Bytes(10 + body.length), uint32Bytes(code), body)
}

/** What this TPM answers to one command after the other. */
export function vtpmCommands(tpm: Vtpm): (command: Uint8Array) => Promise<Uint8Array | 'silence' | 'hang-up'> {
  let userData: Uint8Array | undefined
  let report: Uint8Array | undefined
  const counts = new Map<string, number>()

  async function run(name: string, reader: ByteReader): Promise<Uint8Array> {
    const session = (): void => {
      const area = new ByteReader(reader.take(reader.uint32('area'), 'area'))
      if (area.uint32('session') !== 0x40000009) throw new Error('no password session')
      area.take(5, 'empty password')
      area.end('area')
    }
    const owner = (): void => {
      if (reader.uint32('authority') !== 0x40000001) throw new Error('not the owner')
    }
    switch (name) {
      case 'nvReadPublic': {
        const index = reader.uint32('index')
        if (index === hclIndex) report = await tpm.hclReport(userData)
        const size = index === hclIndex ? report!.length : userData?.length
        if (size === undefined) return tpmAnswer(noSuchHandle)
        const area = concatBytes(
          uint32Bytes(index),
          uint16(0x0b),
          uint32Bytes(0x60006),
          sized(new Uint8Array()),
          uint16(size),
        )
        return tpmAnswer(0, concatBytes(sized(area), sized(new Uint8Array(34))))
      }
      case 'nvDefineSpace': {
        owner()
        session()
        reader.take(reader.uint16('password'), 'password')
        const area = new ByteReader(reader.take(reader.uint16('area'), 'area'))
        if (area.uint32('index') !== userIndex) throw new Error('another index')
        area.take(6, 'algorithm and attributes')
        area.take(area.uint16('policy'), 'policy')
        userData = new Uint8Array(area.uint16('size'))
        return tpmAnswer(0, undefined, true)
      }
      case 'nvWrite': {
        owner()
        if (reader.uint32('index') !== userIndex || userData === undefined) return tpmAnswer(noSuchHandle)
        session()
        userData = reader.take(reader.uint16('length'), 'data').slice()
        reader.uint16('offset')
        return tpmAnswer(0, undefined, true)
      }
      case 'nvRead': {
        owner()
        if (reader.uint32('index') !== hclIndex) return tpmAnswer(noSuchHandle)
        session()
        const [length, offset] = [reader.uint16('length'), reader.uint16('offset')]
        if (length > 1024) return tpmAnswer(0x1d5)
        return tpmAnswer(0, sized(report!.subarray(offset, offset + length)), true)
      }
      case 'readPublic': {
        if (reader.uint32('handle') !== 0x81000003) return tpmAnswer(noSuchHandle)
        const area = concatBytes(uint16(1), uint16(tpm.nameAlgorithm ?? 0x0b), new Uint8Array(20))
        return tpmAnswer(0, concatBytes(sized(area), sized(new Uint8Array(34)), sized(new Uint8Array(34))))
      }
      case 'quote': {
        if (reader.uint32('handle') !== 0x81000003) return tpmAnswer(noSuchHandle)
        session()
        const data = reader.take(reader.uint16('length'), 'data')
        if (reader.uint16('scheme') !== 0x10) throw new Error('not the key’s own scheme')
        const selection = reader.take(10, 'selection')
        const message = concatBytes(
          Uint8Array.of(0xff, 0x54, 0x43, 0x47, 0x80, 0x18),
          sized(new Uint8Array(34)),
          sized(data),
          new Uint8Array(25),
          selection,
          sized(sha256(concatBytes(...tpm.pcrs))),
        )
        const signature = new Uint8Array(sign('sha256', message, privateKey))
        return tpmAnswer(0, concatBytes(sized(message), uint16(0x14), uint16(0x0b), sized(signature)), true)
      }
      case 'pcrRead': {
        const selection = reader.take(10, 'selection')
        const asked = [...Array(24).keys()].filter((pcr) => selection[7 + (pcr >> 3)]! & (1 << (pcr & 7))).slice(0, 8)
        const given = selection.slice()
        given.fill(0, 7)
        for (const pcr of asked) given[7 + (pcr >> 3)]! |= 1 << (pcr & 7)
        const digests = asked.map((pcr) => sized(tpm.pcrs[pcr]!))
        return tpmAnswer(0, concatBytes(uint32Bytes(9), given, uint32Bytes(digests.length), ...digests))
      }
      default:
        return tpmAnswer(0x143)
    }
  }

  return async (command) => {
    const reader = new ByteReader(command)
    reader.uint16('tag')
    if (reader.uint32('size') !== command.length) throw new Error('wrong size')
    const name = names[reader.uint32('code')] ?? 'unknown'
    const answer = await run(name, reader)
    if (answer.length > 10) reader.end(name)
    counts.set(name, (counts.get(name) ?? 0) + 1)
    const given = tpm.fault?.(name, answer, counts.get(name)!) ?? answer
    return typeof given === 'number' ? tpmAnswer(given) : given
  }
}

/** Serves the TPM on a unix socket, each answer in `pieces` writes. Close the server when done. */
export async function serveVtpm(path: string, tpm: Vtpm, pieces = 1): Promise<Server> {
  const run = vtpmCommands(tpm)
  const server = createServer((socket: Socket) => {
    let waiting = new Uint8Array()
    socket.on('error', () => undefined)
    socket.on('data', async (part: Uint8Array) => {
      waiting = concatBytes(waiting, part)
      if (waiting.length < 6 || waiting.length < new DataView(waiting.buffer).getUint32(2)) return
      const command = waiting
      waiting = new Uint8Array()
      const answer = await run(command)
      if (answer === 'silence') return
      if (answer === 'hang-up') return socket.destroy()
      const step = Math.ceil(answer.length / pieces)
      for (let at = 0; at < answer.length; at += step) {
        socket.write(answer.subarray(at, at + step))
        if (pieces > 1) await new Promise((resolve) => setTimeout(resolve, 1))
      }
      return undefined
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return server
}

/** An HCL report around a hardware report, docs: az-cvm-vtpm. `type` 2 is SNP, 4 TDX. */
export function hclReport(type: 2 | 4, variableData: Uint8Array, hardware: Uint8Array): Uint8Array {
  const whole = new Uint8Array(2600)
  whole.set(encodeUtf8('HCLA'))
  whole.set(hardware, 32)
  const view = new DataView(whole.buffer)
  const fields = [20 + variableData.length, 1, type, 1, variableData.length]
  for (const [at, value] of fields.entries()) view.setUint32(1216 + 4 * at, value, true)
  whole.set(variableData, 1236)
  return whole
}

export function variableData(userData: Uint8Array | undefined): Uint8Array {
  const keys = [{ kid: 'HCLAkPub', key_ops: ['sign'], kty: 'RSA', e: attestationKeyJwk.e, n: attestationKeyJwk.n }]
  const user = (userData ?? new Uint8Array(64)).toHex().toUpperCase()
  return encodeUtf8(JSON.stringify({ keys, 'vm-configuration': { 'secure-boot': true }, 'user-data': user }))
}
