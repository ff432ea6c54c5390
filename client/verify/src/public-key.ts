import { concatBytes, decodeBase64, decodeHex, encodeUtf8, equalBytes, FormatError } from '@cella/bytes'

const textMax = 16_384
/** RFC 8410 §4: SubjectPublicKeyInfo of an Ed25519 key up to the key. */
const ed25519Prefix = decodeHex('302a300506032b6570032100', 'SPKI')
/** RFC 8709 §4: string "ssh-ed25519", then the length of the key. */
const sshPrefix = concatBytes(decodeHex('0000000b', 'SSH'), encodeUtf8('ssh-ed25519'), decodeHex('00000020', 'SSH'))

/** DER SubjectPublicKeyInfo of a PEM public key, or of a line `ssh-ed25519 BASE64 …`. Throws FormatError. */
export function parsePublicKey(text: string): Uint8Array {
  if (text.length > textMax) throw new FormatError('public key', `has more than ${textMax} characters`)
  const pem = /^-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----\s*$/.exec(text)
  if (pem !== null) return decodeBase64(pem[1]!.replaceAll(/[\r\n]/g, ''), 'public key')
  const ssh = /^ssh-ed25519 ([A-Za-z0-9+/=]+)(?: [^\n]*)?\n?$/.exec(text)
  if (ssh === null) throw new FormatError('public key', 'is neither PEM nor a line of ssh-ed25519')
  const bytes = decodeBase64(ssh[1]!, 'public key')
  const key = bytes.subarray(sshPrefix.length)
  if (key.length !== 32 || !equalBytes(bytes.subarray(0, sshPrefix.length), sshPrefix)) {
    throw new FormatError('public key', 'is no key of Ed25519')
  }
  return concatBytes(ed25519Prefix, key)
}
