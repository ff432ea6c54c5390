import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { concatBytes, encodeUtf8, uint32Bytes } from '@cella/bytes'
import type { SnpEvidenceEntry } from '@cella/evidence'
import type { TeeDriver } from '@cella/tee'
import type { GuestMachine } from './kbs-guest.ts'

// A guest in an Azure confidential VM: its hardware is a simulated SEV-SNP, its paravisor and virtual TPM are these lines.

const uint16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff)
const sized = (bytes: Uint8Array): Uint8Array => concatBytes(uint16(bytes.length), bytes)
const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest()

/** The machine, and the certificates that its attester leaves out: ASK and ARK. */
export async function azureMachine(
  driver: TeeDriver,
): Promise<{ machine: GuestMachine; chain: readonly Uint8Array[] }> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { n, e } = publicKey.export({ format: 'jwk' })
  const variableData = encodeUtf8(
    JSON.stringify({
      keys: [{ kid: 'HCLAkPub', key_ops: ['sign'], kty: 'RSA', e, n }],
      'vm-configuration': { 'secure-boot': true, 'tpm-enabled': true },
      'user-data': '00'.repeat(64),
    }),
  )
  const bound = new Uint8Array(64)
  bound.set(sha256(variableData))
  const { report, certificates } = (await driver.getEvidence(bound)).entries[0] as SnpEvidenceEntry
  const [vcek, ...chain] = certificates
  const pcrs = Array.from({ length: 24 }, (_, pcr) => new Uint8Array(32).fill(pcr))
  const machine: GuestMachine = {
    tee: 'az-snp-vtpm',
    attest: async (digest) => {
      // TPMS_ATTEST of a quote over all PCRs of the SHA-256 bank.
      const message = concatBytes(
        Uint8Array.of(0xff, 0x54, 0x43, 0x47, 0x80, 0x18),
        sized(concatBytes(uint16(0x0b), new Uint8Array(32))),
        sized(digest),
        new Uint8Array(16),
        Uint8Array.of(1),
        new Uint8Array(8),
        concatBytes(uint32Bytes(1), uint16(0x0b), Uint8Array.of(3, 0xff, 0xff, 0xff)),
        sized(sha256(concatBytes(...pcrs))),
      )
      const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
      return {
        version: 1,
        tpm_quote: { signature: hex(sign('sha256', message, privateKey)), message: hex(message), pcrs: pcrs.map(hex) },
        hcl_report: Buffer.from(hclReport(report, variableData)).toString('base64url'),
        vcek: Buffer.from(vcek!).toString('base64url'),
      }
    },
  }
  return { machine, chain }
}

/** `HCLA`, version 1, size, request 2; the report; size, version 1, type 2 (SNP), hash 1 (SHA-256), size; JSON. */
function hclReport(report: Uint8Array, variableData: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2600)
  const view = new DataView(bytes.buffer)
  bytes.set(encodeUtf8('HCLA'))
  for (const [at, value] of [1, 1236 + variableData.length, 2].entries()) view.setUint32(4 + 4 * at, value, true)
  bytes.set(report, 32)
  const fields = [20 + variableData.length, 1, 2, 1, variableData.length]
  for (const [at, value] of fields.entries()) view.setUint32(1216 + 4 * at, value, true)
  bytes.set(variableData, 1236)
  return bytes
}
