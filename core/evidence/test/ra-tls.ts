import { createPublicKey } from 'node:crypto'
import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { CborTag, encodeCbor } from '@cella/cbor'
import { sha256 } from '@cella/primitives'
import { issueSgx, issueTdx } from './intel-vendor.ts'
import { certify, extension, newCa } from './x509.ts'

// Certificates of enclaves' own TLS keys with a quote inside, in the forms of Gramine, DICE and Open Enclave.

export const enclave = newCa('enclave')
export const stranger = newCa('stranger')
export const spkiOf = ({ key }: typeof enclave): Uint8Array =>
  new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }))
export const spki = spkiOf(enclave)

const binding = (digest: Uint8Array): Uint8Array => concatBytes(digest, new Uint8Array(64 - digest.length))
export const sgx = async (bound: Uint8Array) =>
  (await issueSgx({ enclave: { reportData: binding(sha256(bound)) } })).quote
export const tdx = async (bound: Uint8Array) => (await issueTdx({ td: { reportData: binding(sha256(bound)) } })).quote

/** An enclave's certificate with its quote under each identifier. */
export const certificate = (extensions: readonly (readonly [string, Uint8Array])[], of = enclave): Uint8Array =>
  certify(of, of, { ca: false, usage: 0x80, extensions: extensions.map(([oid, value]) => extension(oid, value)) }).der

export const dice = '2.23.133.5.4.9'
export const gramine = '0.6.9.42.840.113741.1337.6'
export const claims = (digest: Uint8Array, algorithm = 1): Uint8Array =>
  encodeCbor(
    new Map([
      ['pubkey-hash', encodeCbor([algorithm, digest])],
      ['nonce', Uint8Array.of(1, 2)],
    ]),
  )
export const diceValue = (quote: Uint8Array, said: Uint8Array, tag = 60_000): Uint8Array =>
  encodeCbor(new CborTag(tag, [quote, said]))

const pem = createPublicKey(enclave.key).export({ format: 'pem', type: 'spki' })
export const cString = encodeUtf8(`${pem}\0`)
const u64 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true)
  return bytes
}
export const openEnclaveFormats = {
  ecdsa: 'a3a21e871b4d4014b70aa125d2fbcd8c',
  report: 'c8303454d9234c2ca691df7def460a76',
  raw: '1923d91e12d24c72b22025cd8dace871',
  tdx: '8ba70286c1cf11edafa10242ac120002',
}
export const evidence = (format: string, data: Uint8Array, version = 3): Uint8Array =>
  concatBytes(Uint8Array.of(version, 0, 0, 0), Uint8Array.fromHex(format), new Uint8Array(4), u64(data.length), data)
export const report = (quote: Uint8Array): Uint8Array =>
  concatBytes(Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0), u64(quote.length), quote)

/** One of each form, whose quote binds the key. */
export async function raTlsCertificates(): Promise<readonly Uint8Array[]> {
  const said = claims(sha256(spki))
  const openEnclave = await sgx(cString)
  return [
    certificate([[dice, diceValue(await sgx(said), said)]]),
    certificate([[gramine, await sgx(spki)]]),
    certificate([['1.2.840.113556.10.1.1', report(openEnclave)]]),
    certificate([['1.2.840.113556.10.1.2', evidence(openEnclaveFormats.ecdsa, concatBytes(openEnclave, cString))]]),
  ]
}
