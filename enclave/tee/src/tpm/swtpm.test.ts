import assert from 'node:assert/strict'
import test from 'node:test'
import { concatBytes, encodeHex, encodeUtf8 } from '@cella/bytes'
import { verifyEvidence } from '@cella/evidence'
import { sha256 } from '@cella/primitives'
import { folder, madeSnp } from '../../test/made.ts'
import { serve } from '../../test/services.ts'
import { extendPcr, fillIndex, makeAttestationKey, noSwtpm, provision, withSwtpm } from '../../test/swtpm.ts'
import { evidenceOf } from '../hardware.ts'
import { simulatedRoot } from '../simulated/platform.ts'
import { azureVtpmDriver } from './azure.ts'
import { nvDefineSpace, nvRead, nvReadPublic, nvWrite, pcrRead } from './commands.ts'
import { openTpm } from './transport.ts'

// The commands, and the driver of Azure's confidential VMs as a whole, against a TPM that somebody else wrote.

const options = { skip: noSwtpm }
const hclIndex = 0x01400001

test('commands of ours are what a software TPM takes', options, () =>
  withSwtpm(async (socket) => {
    const tpm = await openTpm(socket, 10_000)
    try {
      const data = Uint8Array.from({ length: 64 }, (_, at) => at)
      await tpm.run(nvDefineSpace(hclIndex, data.length))
      await tpm.run(nvWrite(hclIndex, data))
      assert.equal(await tpm.run(nvReadPublic(hclIndex)), data.length)
      assert.deepEqual(await tpm.run(nvRead(hclIndex, 0, data.length)), data)
      assert.deepEqual(await tpm.run(nvRead(hclIndex, 32, 8)), data.subarray(32, 40))
      const values = await tpm.run(pcrRead([0, 4, 7]))
      assert.deepEqual([...values.keys()], [0, 4, 7])
      assert.ok([...values.values()].every((value) => value.length === 32))
      await assert.rejects(tpm.run(nvReadPublic(hclIndex + 1)), { code: 'ERR_TEE_REFUSED' })
    } finally {
      await tpm.close()
    }
  }),
)

const binding = Uint8Array.from({ length: 32 }, (_, at) => 7 * at)
const pem = (der: Uint8Array): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toBase64().replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`

/** What the paravisor leaves in the index for this key and user data, over a simulated SEV-SNP. */
async function hclReportOf(modulus: Uint8Array): Promise<{ report: Uint8Array; certificates: readonly Uint8Array[] }> {
  const n = modulus.toBase64({ alphabet: 'base64url', omitPadding: true })
  const json = encodeUtf8(
    JSON.stringify({
      keys: [{ kid: 'HCLAkPub', key_ops: ['sign'], kty: 'RSA', e: 'AQAB', n }],
      'vm-configuration': { 'secure-boot': true },
      'user-data': concatBytes(binding, new Uint8Array(32)).toHex().toUpperCase(),
    }),
  )
  const { report: hardware, certificates } = await madeSnp(concatBytes(sha256(json), new Uint8Array(32)))
  const report = new Uint8Array(1236 + json.length)
  const view = new DataView(report.buffer)
  report.set(encodeUtf8('HCLA'))
  for (const [at, value] of [1, report.length, 2].entries()) view.setUint32(4 + 4 * at, value, true)
  report.set(hardware, 32)
  for (const [at, value] of [20 + json.length, 1, 2, 1, json.length].entries())
    view.setUint32(1216 + 4 * at, value, true)
  report.set(json, 1236)
  return { report, certificates }
}

test('the driver of Azure’s VMs collects from a software TPM what verifies: its own key, quote and PCRs', options, () =>
  withSwtpm(async (socket) => {
    const measured = sha256(encodeUtf8('what was booted'))
    const { certificates } = await provision(socket, async (run) => {
      const hcl = await hclReportOf(await makeAttestationKey(run, 0x81000003))
      await fillIndex(run, hclIndex, hcl.report)
      await extendPcr(run, 8, measured)
      return hcl
    })
    const [vcek, ...chain] = certificates
    const thim = JSON.stringify({ vcekCert: pem(vcek!), certificateChain: chain.map(pem).join('') })
    const { address: metadata } = await serve(() => ({ body: thim }))
    const { source, attempts } = await azureVtpmDriver({ device: socket, metadata, timeoutMs: 10_000 }).probe()
    assert.ok(source, JSON.stringify(attempts))
    const evidence = evidenceOf(await source.collect(binding))
    const { root } = await simulatedRoot(folder)
    const now = Math.floor(Date.now() / 1000)
    const { claims } = await verifyEvidence(evidence, { roots: [root], now })
    assert.deepEqual([claims.tee, claims.reportData, claims.simulated], ['azure-vm', encodeHex(binding), true])
    const extended = encodeHex(sha256(concatBytes(new Uint8Array(32), measured)))
    assert.equal(claims.measurements.pcr8, extended)
    assert.equal(claims.measurements.pcr9, '00'.repeat(32))

    // The TPM signs what it has, and nothing else is taken for it.
    const [entry] = evidence.entries as unknown as [{ readonly pcrs: Uint8Array; readonly quote: Uint8Array }]
    for (const [change, code] of [
      [{ pcrs: entry.pcrs.with(8 * 32, entry.pcrs[8 * 32]! ^ 1) }, 'ERR_EVIDENCE_BINDING'],
      [{ quote: entry.quote.with(50, entry.quote[50]! ^ 1) }, 'ERR_EVIDENCE_SIGNATURE'],
    ] as const) {
      const changed = { entries: [{ ...entry, ...change }] } as unknown as typeof evidence
      await assert.rejects(verifyEvidence(changed, { roots: [root], now }), { code })
    }
  }),
)
