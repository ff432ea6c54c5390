import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { sharedPath, sharedTest } from '@cella/testing'
import { QuoteVerifier } from '@phala/dcap-qvl'
import {
  type Build,
  collateralJson,
  issueChain,
  issueSgx,
  issueTdx,
  now,
  roots,
  tcbInfo,
  td15,
} from '../../test/intel-vendor.ts'
import { CheckLog } from '../checks.ts'
import { Endorsements } from '../endorsements.ts'
import type { TrustedRoot } from '../roots.ts'
import { intelEndorsementsOf, intelEvidenceOf, intelEvidenceOfText } from './readers.ts'
import { intelRoots } from './roots.ts'
import type { TcbInfo } from './tcb-info.ts'
import { verifySgx, verifyTdx } from './verify.ts'

// Another implementation of the same checklist has to come to the same rating, on what it reads: so what is issued here
// is also in the form that others read.

interface Judged {
  readonly status: string | null
  readonly advisories: readonly string[]
}

async function ours(
  entry: ReturnType<typeof intelEvidenceOf>,
  collateral: Uint8Array,
  { at, trusted }: { at: number; trusted: readonly TrustedRoot[] },
): Promise<Judged> {
  const endorsements = new Endorsements(intelEndorsementsOf(collateral))
  const context = { roots: trusted, issuers: [], endorsements, now: at, cache: undefined, checks: new CheckLog() }
  const { claims } = await (entry.format === 'sgx/1' ? verifySgx(entry, context) : verifyTdx(entry, context))
  return { status: claims.tcb.status, advisories: claims.tcb.advisories }
}

function theirs(verifier: QuoteVerifier, quote: Uint8Array, collateral: Uint8Array, at: number): Judged {
  const json = JSON.parse(new TextDecoder().decode(collateral))
  const { status, advisory_ids } = verifier.verify(Buffer.from(quote), json, at)
  return { status, advisories: [...advisory_ids].sort() }
}

for (const [path, quote, time] of [
  ['sgx/dcap-qvl-confighardening', 'quote.bin', '2025-06-20T10:56:11Z'],
  ['tdx/v4-dcap-qvl-uptodate', 'quote.bin', '2025-06-20T10:32:27Z'],
  ['tdx/v4-near-uptodate', 'quote_hex.txt', '2025-09-03T07:41:59Z'],
] as const) {
  sharedTest(`${path}: rated as dcap-qvl rates it`, `vectors/${path}`, async () => {
    const bytes = readFileSync(sharedPath(`vectors/${path}/${quote}`))
    const entry = quote.endsWith('.txt') ? intelEvidenceOfText(bytes.toString()) : intelEvidenceOf(bytes)
    const collateral = new Uint8Array(readFileSync(sharedPath(`vectors/${path}/collateral.json`)))
    const at = Date.parse(time) / 1000
    assert.deepEqual(
      await ours(entry, collateral, { at, trusted: intelRoots }),
      theirs(QuoteVerifier.newProd(), entry.quote, collateral, at),
    )
  })
}

/** The peer takes levels in the order given, and compares TDX component 0 whatever the module: neither shows here. */
function bestFirst(tee: 'sgx' | 'tdx'): TcbInfo {
  const info = tcbInfo(tee)
  const levels = info.levels.map((level) => ({ ...level, tdx: level.tdx?.map((svn, at) => (at === 0 ? 0 : svn)) }))
  return { ...info, levels: levels.reverse() }
}

const builds: readonly (readonly [string, 'sgx' | 'tdx', Build])[] = [
  ['an SGX quote', 'sgx', {}],
  ['a TDX quote', 'tdx', {}],
  ['a TDX quote of version 5', 'tdx', { version: 5, td: td15 }],
  ['a quoting enclave that is out of date', 'sgx', { qe: { svn: 7 } }],
  ['a PCE that is out of date', 'tdx', { claims: { pceSvn: 12 } }],
  [
    'a component that is out of date',
    'sgx',
    { claims: { components: new Array<number>(16).fill(4), cpuSvn: new Uint8Array(16).fill(4) } },
  ],
]

for (const [name, tee, build] of builds) {
  test(`${name} of our own making is rated as dcap-qvl rates it`, async () => {
    const entry = tee === 'sgx' ? await issueSgx(build) : await issueTdx(build)
    const collateral = await collateralJson(tee, { infos: [bestFirst(tee)] })
    const { root } = await issueChain()
    const peer = QuoteVerifier.newWithRootCa(Buffer.from(root))
    const rated = await ours(entry, collateral, { at: now, trusted: roots })
    assert.deepEqual(rated, theirs(peer, entry.quote, collateral, now))
  })
}
