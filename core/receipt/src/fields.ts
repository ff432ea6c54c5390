import type { Digest } from '@cella/bytes'
import type { Contract, SignedDocument } from '@cella/documents'
import { type Case, utc } from './case.ts'
import { ownersOf, type Worker } from './enclaves.ts'

/** The output that carries a program's own words. */
const diagnosticsName = 'cella-diagnostics'

/** That the receipt says what the contract, the manifests and the evidence say. */
export function checkReceiptFields(situation: Case, worker: Worker | undefined): void {
  const { contract, documents, receipt, findings, entry } = situation
  const { payload } = receipt
  const differs = (field: string, got: string, expected: string): void => {
    if (got !== expected) findings.wrong('RECEIPT_DIFFERS', { field, got, expected })
  }
  differs('log', entry.origin, contract.payload.log)
  if (payload.run > contract.payload.runs) differs('run', `${payload.run}`, `at most ${contract.payload.runs}`)
  const step = contract.payload.steps[0]!
  differs(
    'inputs',
    list(payload.inputs.map(({ name, manifest }) => `${name}=${manifest}`)),
    list(step.inputs.map(({ name, manifest }) => `${name}=${manifest}`)),
  )
  for (const input of payload.inputs) {
    const manifest = documents.find('cella/manifest', input.manifest)
    if (manifest !== undefined) {
      differs(`inputs.${input.name}.rootDigest`, input.rootDigest, manifest.payload.sealed.rootDigest)
    }
  }
  differs('program.manifest', payload.program.manifest, step.program)
  const program = documents.find('cella/manifest', step.program)
  if (program?.payload.program) differs('program.digest', payload.program.digest, program.payload.program.digest)
  checkOutputs(situation, differs)
  differs('isolation', `${payload.isolation}`, `${worker?.isolation ?? payload.isolation}`)
  for (const { tee } of worker?.appraisals.values() ?? []) {
    if (tee.simulated !== payload.simulated) {
      findings.wrong('CLAIM_DIFFERS', { claimed: `${payload.simulated}`, found: `${tee.simulated}` })
    }
  }
  const times = entry.times
  if (times !== undefined && times.latest > contract.payload.notAfter) {
    differs('time', utc(times.latest), `at most ${utc(contract.payload.notAfter)}`)
  }
}

function checkOutputs(
  { contract, receipt }: Case,
  differs: (field: string, got: string, expected: string) => void,
): void {
  const { outputs, status } = receipt.payload
  const declared = expectedOutputs(contract.payload, status)
  differs('outputs', list(outputs.map(({ name }) => name)), list(declared.map(({ name }) => name)))
  for (const output of outputs) {
    const receivers = declared.find(({ name }) => name === output.name)?.receivers
    if (receivers === undefined) continue
    const memberships = receivers.map(({ membership }) => membership)
    differs(`outputs.${output.name}.receivers`, list(output.receivers), list(memberships))
  }
}

/** What leaves an enclave: the contract's outputs where the run ended well, and diagnostics for whom the contract names. */
function expectedOutputs(
  contract: Contract,
  status: string,
): readonly { name: string; receivers: Contract['diagnostics'] }[] {
  const diagnostics =
    contract.diagnostics.length > 0 ? [{ name: diagnosticsName, receivers: contract.diagnostics }] : []
  return [...(status === 'ok' ? contract.outputs : []), ...diagnostics]
}

function list(values: readonly string[]): string {
  return values.length === 0 ? 'none' : [...values].sort().join(', ')
}

/** The sentences of a receipt in which nothing is wrong or missing, those on what it leaves open included. */
export function describeRun(situation: Case, worker: Worker, independent: readonly string[]): void {
  const { contract, documents, findings, receipt, nameOf } = situation
  const { payload } = receipt
  describeLog(situation, independent)
  describeLevels(situation)
  findings.proved('CONTRACT', {
    run: payload.run,
    attempt: payload.attempt,
    name: contract.payload.name,
    digest: contract.digest,
    organisation: nameOf(contract.payload.organisation),
    purpose: contract.payload.purpose,
  })
  for (const { name, manifest, rootDigest } of payload.inputs) {
    const input = documents.find('cella/manifest', manifest)!.payload
    const organisation = nameOf(input.organisation)
    findings.proved('INPUT', { name, organisation, title: input.title, revision: input.revision, rootDigest })
  }
  const program = documents.find('cella/manifest', payload.program.manifest)!.payload
  const organisation = nameOf(program.organisation)
  findings.proved('PROGRAM', { title: program.title, organisation, digest: payload.program.digest })
  describeEnclave(situation, worker)
  for (const owner of ownersOf(situation)) {
    const approval = documents
      .all('cella/approval')
      .find(({ payload: one }) => one.contract === contract.digest && one.organisation === owner)
    if (approval) findings.proved('APPROVAL', { organisation: nameOf(owner), runs: approval.payload.runs })
  }
  for (const output of payload.outputs) {
    findings.proved('OUTPUT', {
      name: output.name,
      rootDigest: output.sealed.rootDigest,
      receivers: receiverNames(
        situation,
        expectedOutputs(contract.payload, payload.status).find(({ name }) => name === output.name)!.receivers,
      ),
      suppressed:
        output.suppressed === 0
          ? ''
          : output.suppressed === 1
            ? '; 1 row in it was emptied because its group is too small'
            : `; ${output.suppressed} rows in it were emptied because their groups are too small`,
    })
  }
  if (payload.status === 'ok') findings.proved('STATUS_OK', {})
  else findings.proved('STATUS', { status: payload.status })
  findings.notProved('PROGRAM_HONESTY', {})
  findings.notProved('INPUT_TRUTH', {})
  findings.notProved('PURPOSE_IS_A_WORD', {
    purpose: contract.payload.purpose,
    organisation: nameOf(contract.payload.organisation),
  })
  findings.notProved('ONLY_RECEIPT', {})
  findings.notProved('REVOKED_SINCE', { latest: situation.entry.times ? utc(situation.entry.times.latest) : 'then' })
  findings.notProved('SIDE_CHANNELS', {})
}

function describeLog({ entry, findings }: Case, independent: readonly string[]): void {
  const place = { index: entry.index, log: entry.origin, size: entry.size }
  const witnesses = entry.witnesses.map(({ name }) => name)
  if (entry.times === undefined) {
    findings.proved('RECEIPT_LOGGED_UNWITNESSED', place)
    findings.notProved('TIME_IS_THE_HOSTS', {})
    return
  }
  findings.proved('RECEIPT_LOGGED', {
    ...place,
    witnesses: witnesses.join(', '),
    when: timesInWords(entry.times),
  })
  if (!witnesses.some((name) => independent.includes(name))) {
    findings.notProved('NOBODY_INDEPENDENT_WATCHED', { witnesses: witnesses.join(', ') })
  }
}

/** Which owners asked for less than witnesses on the very checkpoint, and what stays open. */
function describeLevels(situation: Case): void {
  const { documents, findings, nameOf } = situation
  for (const owner of ownersOf(situation)) {
    const { level } = documents.terms(owner).payload
    const organisation = nameOf(owner)
    if (level === 'logged') findings.notProved('LEVEL_LOGGED', { organisation })
    else if (level !== 'witnessed') {
      findings.notProved('LEVEL_WITHIN', { organisation, seconds: level.slice('witnessed-within '.length) })
    }
  }
}

/** The span in which witnesses saw a checkpoint. */
export function timesInWords({ earliest, latest }: { earliest: number; latest: number }): string {
  return earliest === latest ? `at ${utc(latest)}` : `between ${utc(earliest)} and ${utc(latest)}`
}

function describeEnclave(situation: Case, worker: Worker): void {
  const { findings, nameOf } = situation
  const [appraisal] = worker.appraisals.values()
  const tee = appraisal!.tee
  findings.proved('ENCLAVE', {
    tee: tee.simulated ? `SIMULATED ${tee.kind}` : tee.kind,
    boundary: tee.boundary,
    isolation: worker.isolation,
    build: appraisal!.build?.payload.release ?? 'unknown',
    organisations: [...worker.appraisals.keys()].map(nameOf).join(', '),
  })
  if (tee.simulated) findings.notProved('SIMULATED_TEE', {})
}

function receiverNames({ documents, nameOf }: Case, receivers: Contract['diagnostics']): string {
  const names = receivers.map(({ organisation, role, membership }) => {
    const member: SignedDocument<'cella/membership'> | undefined = documents.find('cella/membership', membership)
    return `${member?.payload.name ?? membership} (${role}, ${nameOf(organisation as Digest)})`
  })
  return names.join(', ')
}
