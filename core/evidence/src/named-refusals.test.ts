import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import test from 'node:test'
import { concatBytes } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import * as arm from '../test/arm-vendor.ts'
import * as azure from '../test/azure-vendor.ts'
import * as intel from '../test/intel-vendor.ts'
import * as nitro from '../test/nitro-vendor.ts'
import * as nvidia from '../test/nvidia.ts'
import * as tpm from '../test/tpm-vendor.ts'
import * as snp from '../test/vendor.ts'
import { type Endorsement, Endorsements, type Evidence, type TrustedRoot, verifyEvidence } from './index.ts'
import { issueIntelRoot } from './intel/issue.ts'
import { intermediateSerials, issueArk, issueArkCrl, issueAsk } from './sev-snp/issue.ts'

// The known ways to pass what is not genuine for what is, once for each family that they apply to, through the one entry
// that callers have. `genuine`: what looks like an attack and is none.

interface Case {
  readonly family: string
  readonly attack: string
  readonly outcome: string
  readonly make: () => Promise<readonly [Evidence['entries'][number], (Endorsements | undefined)?, number?]>
  readonly roots?: readonly TrustedRoot[]
}

const { now } = snp
const day = 86_400
const year = 365 * day
const roots: readonly TrustedRoot[] = [...snp.roots, ...intel.roots, nitro.nitroRoot, ...nvidia.roots]

const snpEntry = async (build: snp.Build = {}) => (await snp.issueEvidence(build)).entries[0]!
const otherAk = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey
const ccaEntry = async () => ({ role: 'cpu', format: 'cca/1', token: await arm.issueCca() }) as const
const arkCrl = (thisUpdate: number, nextUpdate: number, revoked: readonly number[] = []): Promise<Uint8Array> =>
  issueArkCrl({ product: 'Milan', thisUpdate, nextUpdate, revoked, sign: snp.signerOf(snp.arkKey) })
const withCrl = async (content: Promise<Uint8Array>): Promise<Endorsements> =>
  new Endorsements([{ kind: 'crl', content: await content } satisfies Endorsement])

const cases: readonly Case[] = [
  // AMD SEV-SNP: the chain travels in one order, leaf first.
  {
    family: 'sev-snp',
    attack: 'certificates out of order',
    outcome: 'ERR_EVIDENCE_CHAIN',
    make: async () => {
      const entry = await snpEntry()
      return [{ ...entry, certificates: entry.certificates.toReversed() } as typeof entry]
    },
  },
  {
    family: 'sev-snp',
    attack: 'a root of the same name and another key',
    outcome: 'ERR_EVIDENCE_ROOT_UNKNOWN',
    make: async () => {
      const entry = await snpEntry()
      const by = {
        product: 'Milan',
        sign: snp.signerOf(snp.askKey),
        notBefore: now - day,
        notAfter: now + day,
      } as const
      const spki = snp.spkiOf(snp.askKey)
      const certificates = [
        entry.certificates[0]!,
        await issueAsk({ ...by, vek: 'vcek', spki }),
        await issueArk({ ...by, spki }),
      ]
      return [{ ...entry, certificates } as typeof entry]
    },
  },
  {
    family: 'sev-snp',
    attack: 'a root in another certificate of the same key',
    outcome: 'genuine',
    make: async () => {
      const entry = await snpEntry()
      const [vcek, ask] = entry.certificates
      const ark = await issueArk({
        product: 'Milan',
        spki: snp.spkiOf(snp.arkKey),
        sign: snp.signerOf(snp.arkKey),
        notBefore: now - year,
        notAfter: now + year,
      })
      return [{ ...entry, certificates: [vcek!, ask!, ark] } as typeof entry]
    },
  },
  // AMD gives its VCEKs no other.
  {
    family: 'sev-snp',
    attack: 'a VCEK with the serial number 0',
    outcome: 'genuine',
    make: async () => [await snpEntry()],
  },
  {
    family: 'sev-snp',
    attack: 'a VLEK passed as VCEK',
    outcome: 'ERR_EVIDENCE_CHAIN',
    make: async () => [await snpEntry({ vek: 'vlek', report: { signingKey: 'vcek' } })],
  },
  {
    family: 'sev-snp',
    attack: 'a report with a byte after its end',
    outcome: 'ERR_EVIDENCE_MALFORMED',
    make: async () => {
      const entry = await snpEntry()
      return [{ ...entry, report: concatBytes(entry.report, Uint8Array.of(0)) } as typeof entry]
    },
  },
  {
    family: 'sev-snp',
    attack: 'an expired leaf',
    outcome: 'ERR_EVIDENCE_EXPIRED',
    make: async () => [await snpEntry({ leafTimes: { notBefore: now - year, notAfter: now - 1 } })],
  },
  {
    family: 'sev-snp',
    attack: 'a leaf of the future',
    outcome: 'ERR_EVIDENCE_NOT_YET_VALID',
    make: async () => [await snpEntry({ leafTimes: { notBefore: now + 1, notAfter: now + year } })],
  },
  {
    family: 'sev-snp',
    attack: 'a revoked intermediate',
    outcome: 'ERR_EVIDENCE_REVOKED',
    make: async () => [await snpEntry(), await withCrl(arkCrl(now - day, now + day, [intermediateSerials.vcek]))],
  },
  {
    family: 'sev-snp',
    attack: 'an expired revocation list',
    outcome: 'ERR_EVIDENCE_COLLATERAL_EXPIRED',
    make: async () => [await snpEntry(), await withCrl(arkCrl(now - 2 * day, now - 1))],
  },
  {
    family: 'sev-snp',
    attack: 'a revocation list of the future',
    outcome: 'ERR_EVIDENCE_COLLATERAL_EXPIRED',
    make: async () => [await snpEntry(), await withCrl(arkCrl(now + 1, now + day))],
  },
  // Intel SGX and TDX: the path is built by names, whatever the order.
  ...(['sgx', 'tdx'] as const).flatMap((family): Case[] => {
    const issue = (build: intel.Build = {}) => (family === 'sgx' ? intel.issueSgx(build) : intel.issueTdx(build))
    const collateral = (build: intel.CollateralBuild = {}) => intel.issueCollateral(family, build)
    return [
      {
        family,
        attack: 'certificates out of order',
        outcome: 'genuine',
        make: async () => [await issue({ order: (chain) => chain.toReversed() }), await collateral()],
      },
      {
        family,
        attack: 'a root of the same name and another key',
        outcome: 'ERR_EVIDENCE_ROOT_UNKNOWN',
        make: async () => [await issue({ rootKey: intel.keys.stranger })],
      },
      {
        family,
        attack: 'a root in another certificate of the same key',
        outcome: 'genuine',
        make: async () => {
          const { root: key } = intel.keys
          const times = { notBefore: now - year, notAfter: now + year }
          const other = await issueIntelRoot({
            ...times,
            serial: 9,
            spki: intel.spkiOf(key),
            sign: intel.signerOf(key),
          })
          return [await issue({ order: ([pck, ca]) => [pck!, ca!, other] })]
        },
      },
      {
        family,
        attack: 'a leaf with the serial number 0',
        outcome: 'ERR_EVIDENCE_CHAIN',
        make: async () => [await issue({ pckSerial: 0 })],
      },
      {
        family,
        attack: 'a quote with a byte after its end',
        outcome: 'ERR_EVIDENCE_MALFORMED',
        make: async () => {
          const entry = await issue()
          return [{ ...entry, quote: concatBytes(entry.quote, Uint8Array.of(0)) } as typeof entry]
        },
      },
      {
        family,
        attack: 'an expired leaf',
        outcome: 'ERR_EVIDENCE_EXPIRED',
        make: async () => [await issue({ pckTimes: { notBefore: now - year, notAfter: now - 1 } })],
      },
      {
        family,
        attack: 'a leaf of the future',
        outcome: 'ERR_EVIDENCE_NOT_YET_VALID',
        make: async () => [await issue({ pckTimes: { notBefore: now + 1, notAfter: now + year } })],
      },
      {
        family,
        attack: 'a revoked leaf',
        outcome: 'ERR_EVIDENCE_REVOKED',
        make: async () => [await issue(), await collateral({ revokedByCa: ['pck'] })],
      },
      {
        family,
        attack: 'a revoked intermediate',
        outcome: 'ERR_EVIDENCE_REVOKED',
        make: async () => [await issue(), await collateral({ revokedByRoot: ['platform'] })],
      },
      {
        family,
        attack: 'a revoked TCB signer',
        outcome: 'ERR_EVIDENCE_REVOKED',
        make: async () => [await issue(), await collateral({ revokedByRoot: ['tcbSigning'] })],
      },
      {
        family,
        attack: 'an expired revocation list',
        outcome: 'ERR_EVIDENCE_COLLATERAL_EXPIRED',
        make: async () => [
          await issue(),
          await collateral({ crlTimes: { thisUpdate: now - 2 * day, nextUpdate: now - 1 } }),
        ],
      },
      {
        family,
        attack: 'an expired rating of its TCB',
        outcome: 'ERR_EVIDENCE_COLLATERAL_EXPIRED',
        make: async () => [
          await issue(),
          await collateral({ infos: [{ ...intel.tcbInfo(family), issuedAt: now - 60 * day, nextUpdate: now - 1 }] }),
        ],
      },
      {
        family,
        attack: 'a rating of its TCB of the future',
        outcome: 'ERR_EVIDENCE_COLLATERAL_EXPIRED',
        make: async () => [
          await issue(),
          await collateral({ infos: [{ ...intel.tcbInfo(family), issuedAt: now + 1, nextUpdate: now + 60 * day }] }),
        ],
      },
    ]
  }),
  // AWS Nitro: no revocation lists; a leaf lives for three hours.
  {
    family: 'nitro',
    attack: 'a root of the same name and another key',
    outcome: 'ERR_EVIDENCE_ROOT_UNKNOWN',
    roots: [{ ...nitro.nitroRoot, spki: intel.roots[0]!.spki }],
    make: async () => [await nitro.issueNitro()],
  },
  {
    family: 'nitro',
    attack: 'a leaf with the serial number 0',
    outcome: 'ERR_EVIDENCE_CHAIN',
    make: async () => [await nitro.issueNitro({ leaf: { serial: Uint8Array.of(0) } })],
  },
  {
    family: 'nitro',
    attack: 'a document with a byte after its end',
    outcome: 'ERR_EVIDENCE_MALFORMED',
    make: async () => {
      const entry = await nitro.issueNitro()
      return [{ ...entry, document: concatBytes(entry.document, Uint8Array.of(0)) } as typeof entry]
    },
  },
  {
    family: 'nitro',
    attack: 'an expired leaf',
    outcome: 'ERR_EVIDENCE_EXPIRED',
    make: async () => [await nitro.issueNitro(), undefined, now + 4 * 3600],
  },
  {
    family: 'nitro',
    attack: 'a leaf of the future',
    outcome: 'ERR_EVIDENCE_NOT_YET_VALID',
    make: async () => [await nitro.issueNitro(), undefined, now - 3600],
  },
  // NVIDIA: the device's certificate comes first, the others in any order; revocation comes by OCSP.
  {
    family: 'nvidia-gpu',
    attack: 'certificates out of order, the device’s not first',
    outcome: 'ERR_EVIDENCE_CHAIN',
    make: async () => [nvidia.entry({ certificates: nvidia.chain().toReversed() })],
  },
  ...(
    [
      ['a revoked leaf', 'ERR_EVIDENCE_REVOKED', 0, { status: { reason: 1 } }],
      ['a leaf on hold', 'ERR_EVIDENCE_REVOKED', 0, { status: { reason: 6 } }],
      ['a revoked intermediate', 'ERR_EVIDENCE_REVOKED', 2, { status: { reason: 1 } }],
      ['an intermediate on hold', 'ERR_EVIDENCE_REVOKED', 2, { status: { reason: 6 } }],
      [
        'an expired OCSP answer',
        'ERR_EVIDENCE_COLLATERAL_EXPIRED',
        0,
        { thisUpdate: now - 2 * day, nextUpdate: now - 1 },
      ],
      [
        'an OCSP answer of the future',
        'ERR_EVIDENCE_COLLATERAL_EXPIRED',
        0,
        { thisUpdate: now + 1, nextUpdate: now + day },
      ],
      [
        'an OCSP answer by a look-alike of the issuer',
        'ERR_EVIDENCE_COLLATERAL_INVALID',
        0,
        { signer: nvidia.newKey() },
      ],
    ] as const
  ).map(
    ([attack, outcome, at, answer]): Case => ({
      family: 'nvidia-gpu',
      attack,
      outcome,
      make: async () => {
        const certificates = nvidia.chain()
        const signer = [nvidia.keys.brom, nvidia.keys.provisioner, nvidia.keys.identity][at]!
        const responder = ['GH100 A01 GSP BROM', 'Provisioner ICA', 'Identity'][at]!
        const of = { of: certificates[at]!, issuer: certificates[at + 1]!, signer, responder }
        const endorsements = new Endorsements([{ kind: 'ocsp', content: nvidia.ocsp({ ...of, ...answer }) }])
        return [nvidia.entry({ certificates }), endorsements]
      },
    }),
  ),
  {
    family: 'nvidia-gpu',
    attack: 'a root of the same name and another key',
    outcome: 'ERR_EVIDENCE_ROOT_UNKNOWN',
    roots: [nvidia.rootOf(nvidia.newKey())],
    make: async () => [nvidia.entry()],
  },
  {
    family: 'nvidia-gpu',
    attack: 'a leaf with the serial number 0',
    outcome: 'ERR_EVIDENCE_CHAIN',
    make: async () => [nvidia.entry({ certificates: nvidia.chain({ serial: 0 }) })],
  },
  {
    family: 'nvidia-gpu',
    attack: 'a report with bytes after its end',
    outcome: 'ERR_EVIDENCE_MALFORMED',
    make: async () => [nvidia.entry({ report: concatBytes(nvidia.report(), Uint8Array.of(1)) })],
  },
  {
    family: 'nvidia-gpu',
    attack: 'an expired leaf',
    outcome: 'ERR_EVIDENCE_EXPIRED',
    make: async () => [nvidia.entry({ certificates: nvidia.chain({ notBefore: now - year, notAfter: now - 1 }) })],
  },
  {
    family: 'nvidia-gpu',
    attack: 'a leaf of the future',
    outcome: 'ERR_EVIDENCE_NOT_YET_VALID',
    make: async () => [nvidia.entry({ certificates: nvidia.chain({ notBefore: now + 1, notAfter: now + year }) })],
  },
  // TPM 2.0, Arm: no chain has to be there; the key itself is what a relying party trusts.
  {
    family: 'tpm',
    attack: 'a key that nobody trusts',
    outcome: 'ERR_EVIDENCE_ROOT_UNKNOWN',
    roots: tpm.tpmRoots.filter(({ spki }) => spki !== digestOf(tpm.issueTpm().key!)),
    make: async () => [tpm.issueTpm()],
  },
  {
    family: 'tpm',
    attack: 'a key that is trusted for another TEE',
    outcome: 'ERR_EVIDENCE_ROOT_UNKNOWN',
    roots: tpm.tpmRoots.map((root) => ({ ...root, tee: 'psa' }) as TrustedRoot),
    make: async () => [tpm.issueTpm()],
  },
  {
    family: 'tpm',
    attack: 'a quote with a byte after its end',
    outcome: 'ERR_EVIDENCE_MALFORMED',
    roots: tpm.tpmRoots,
    make: async () => {
      const entry = tpm.issueTpm()
      return [{ ...entry, quote: concatBytes(entry.quote, Uint8Array.of(0)) } as typeof entry]
    },
  },
  {
    family: 'tpm',
    attack: 'the quote of another key',
    outcome: 'ERR_EVIDENCE_SIGNATURE',
    roots: [{ tee: 'tpm', spki: digestOf(tpm.spkiOf(otherAk)), simulated: false }],
    make: async () => [{ ...tpm.issueTpm({ scheme: 'ecdsa', hash: 'sha256' }), key: tpm.spkiOf(otherAk) }],
  },
  {
    family: 'cca',
    attack: 'a key that nobody trusts',
    outcome: 'ERR_EVIDENCE_ROOT_UNKNOWN',
    roots: [arm.rootOf('cca', arm.armKeys.iak)],
    make: async () => [await ccaEntry(), arm.keysOf(arm.armKeys.cpak)],
  },
  {
    family: 'cca',
    attack: 'a key that is trusted for another TEE',
    outcome: 'ERR_EVIDENCE_ROOT_UNKNOWN',
    roots: [arm.rootOf('psa', arm.armKeys.cpak)],
    make: async () => [await ccaEntry(), arm.keysOf(arm.armKeys.cpak)],
  },
  {
    family: 'cca',
    attack: 'a token with a byte after its end',
    outcome: 'ERR_EVIDENCE_MALFORMED',
    roots: [arm.rootOf('cca', arm.armKeys.cpak)],
    make: async () => {
      const entry = await ccaEntry()
      const token = concatBytes(entry.token, Uint8Array.of(0))
      return [{ ...entry, token }, arm.keysOf(arm.armKeys.cpak)]
    },
  },
  // Azure: each part is genuine, and the chain of one is not the other's.
  {
    family: 'azure-vm',
    attack: 'a vTPM key that the hardware report does not bind',
    outcome: 'ERR_EVIDENCE_BINDING',
    roots: azure.azureRoots,
    make: async () => [await azure.issueSnpVm({ reportData: new Uint8Array(64) })],
  },
  {
    family: 'azure-vm',
    attack: 'a root of the same name and another key',
    outcome: 'ERR_EVIDENCE_ROOT_UNKNOWN',
    roots: [azure.uvmTrust],
    make: async () => [await azure.issueSnpVm()],
  },
  {
    family: 'azure-container-group',
    attack: 'a signer of utility VMs whose root nobody trusts',
    outcome: 'ERR_EVIDENCE_ROOT_UNKNOWN',
    roots: azure.azureRoots.filter(({ tee }) => tee !== 'azure-container-group'),
    make: async () => [await azure.issueContainerGroup()],
  },
]

for (const { family, attack, outcome, make, roots: trusted = roots } of cases) {
  test(`${family}, ${attack}: ${outcome}`, async () => {
    const [entry, endorsements, at = now] = await make()
    const verified = verifyEvidence(
      { entries: [entry] },
      { roots: trusted, now: at, ...(endorsements && { endorsements }) },
    )
    if (outcome === 'genuine') await verified
    else await assert.rejects(verified, { code: outcome })
  })
}
