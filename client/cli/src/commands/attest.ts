import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { canonicalJson, type Digest, type Json } from '@cella/bytes'
import { digestField, nameField, type Payload, signDocument } from '@cella/documents'
import { appraisalPolicyJson, EvidenceError, parseAppraisalPolicy, presets } from '@cella/evidence'
import { gather, type Session } from '@cella/sdk'
import type { Command } from 'commander'
import { z } from 'zod'
import { type Cli, does, group, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { readJsonFile, writeNewFile } from '../files.ts'
import { collect, integerOption, windowOf } from '../options.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatTime, shortDigest } from '../terminal/units.ts'

/** `cella attest …` */
export function addAttestCommands(program: Command, cli: Cli): void {
  const attest = group(program, 'attest', 'an attestation service: appraise evidence for others, sign the result')
  addServe(attest, cli)
  const policy = group(attest, 'policy', 'the policies by which a service appraises for your organisation')
  addPut(policy, cli)
  addList(policy, cli)
}

interface ServeFlags {
  readonly data: string
  readonly listen: string
  readonly issuer?: string
  readonly collateral?: string
  readonly organisation?: string[]
  readonly policy?: string[]
  readonly tee?: 'hardware'
  readonly simulatedTee?: string
  readonly rotateKey?: boolean
  readonly tokenSeconds: number
  readonly keyDays: number
  readonly rate: number
  readonly organisationRate: number
}

function addServe(attest: Command, cli: Cli): void {
  const serve = leaf(attest, 'serve', {
    summary: 'serve attestation results (EAR) under signed policies, until it is stopped',
    details:
      'Whose policies are taken is said by --organisation; what they accept is in documents that these organisations signed. Put a proxy with TLS before it, and give the address of that proxy as --issuer.',
    examples: [
      'cella attest serve --data /var/lib/attest --organisation any',
      'cella attest serve --data /var/lib/attest --organisation 1f0c…64 digits --policy production.json --collateral /var/lib/collateral --issuer https://attest.example.org --listen 0.0.0.0:7430',
    ],
  })
    .requiredOption('--data <folder>', 'where its key and policies are kept')
    .option('--listen <address>', 'HOST:PORT', '127.0.0.1:7430')
    .option('--issuer <url>', 'the iss of its tokens (default: the address it listens at)')
    .option('--collateral <folder>', 'revocation lists, TCB infos and certificates, by the names of the files')
    .option('--organisation <id>', 'whose policies are taken, or “any”; may be repeated', collect)
    .option(
      '--policy <file>',
      'a signed policy to begin with (cella attest policy put --output); may be repeated',
      collect,
    )
    .option('--tee <kind>', '“hardware”: run in the TEE that is here, and show its evidence')
    .option('--simulated-tee <folder>', 'pretend to be in the simulated TEE of this folder: for rehearsal')
    .option('--rotate-key', 'sign with a new key from now on')
    .option('--token-seconds <number>', 'how long a result is valid', integerOption('--token-seconds', 30), 300)
    .option('--key-days <number>', 'after how many days another key signs', integerOption('--key-days', 1), 90)
    .option('--rate <number>', 'requests a second from one address', integerOption('--rate', 1), 100)
    .option(
      '--organisation-rate <number>',
      'evidence a second of one organisation',
      integerOption('--organisation-rate', 1),
      100,
    )
  does<ServeFlags>(serve, cli, async (context, _, flags) => {
    const configuration = await configurationOf(flags)
    const child = start(configuration)
    const ended = new Promise<number | null>((end) => child.once('close', (code) => end(code)))
    const stop = (): void => void child.kill('SIGTERM')
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, stop)
    const ready = await untilReady(context, child, ended)
    const { url, issuer, key, tee } = ready
    // At once and not at the end: others wait for this line.
    context.io.stdout.write(
      context.options.json === true
        ? `${JSON.stringify({ url, issuer, key, tee, pid: child.pid })}\n`
        : `${renderPairs(
            [
              ['service', url],
              ['issuer', issuer],
              ['key', key],
              ['TEE', teeText(tee, context)],
              ['next', `cella attest policy put NAME --policy FILE --service ${url}`],
            ],
            context.style,
          )}\n`,
    )
    const code = await ended
    if (code !== 0) throw new CliError('ERR_SERVER_UNAVAILABLE', `the service ended by itself (exit code ${code})`)
    return { data: { stopped: true }, text: 'stopped' }
  })
}

function teeText(tee: string | null, { style }: Context): string {
  if (tee === 'simulated') return style.yellow('SIMULATED: whoever runs this machine can sign with its key')
  return tee ?? 'none: whoever runs this machine can sign with its key'
}

async function configurationOf(flags: ServeFlags): Promise<Json> {
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(flags.listen) ?? []
  if (host === undefined || Number(port) > 65_535) throw new UsageError(`--listen ${flags.listen}: write HOST:PORT`)
  if (flags.tee !== undefined && flags.tee !== 'hardware') throw new UsageError(`--tee ${flags.tee}: write “hardware”`)
  if (flags.tee !== undefined && flags.simulatedTee !== undefined) {
    throw new UsageError('--tee and --simulated-tee contradict each other')
  }
  const organisations = flags.organisation ?? []
  const wrong = organisations.find((id) => id !== 'any' && !digestField.safeParse(id).success)
  if (organisations.length === 0 || wrong !== undefined) {
    throw new UsageError(
      wrong === undefined ? 'nobody’s policies would be taken' : `--organisation ${wrong}: is no id`,
      '--organisation ID (cella org show prints it), or --organisation any to take everybody’s',
    )
  }
  const folder = resolve(flags.data)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  return {
    listen: { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) },
    issuer: flags.issuer ?? null,
    folder,
    collateral: flags.collateral === undefined ? null : resolve(flags.collateral),
    organisations: organisations.includes('any') ? 'any' : organisations,
    policies: (flags.policy ?? []).map((file) => resolve(file)),
    tokenSeconds: flags.tokenSeconds,
    keyDays: flags.keyDays,
    rotate: flags.rotateKey === true,
    limits: { addressPerSecond: flags.rate, organisationPerSecond: flags.organisationRate },
    log: 'info',
    tee:
      flags.simulatedTee !== undefined
        ? { kind: 'simulated', folder: resolve(flags.simulatedTee) }
        : flags.tee === 'hardware'
          ? { kind: 'hardware' }
          : null,
  }
}

// What enclave/attest demands; it refuses to run on another command line, so these can't part unseen.
const nodeOptions = [
  '--disable-warning=ExperimentalWarning',
  '--disallow-code-generation-from-strings',
  '--disable-sigusr1',
  '--no-addons',
  '--no-experimental-ffi',
  '--max-http-header-size=16384',
  '--wasm-tiering-budget=30000000',
]

function start(configuration: Json): ChildProcess {
  const child = spawn(process.execPath, [...nodeOptions, serviceEntry()], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {},
  })
  child.stdin!.on('error', () => undefined)
  child.stdin!.end(canonicalJson(configuration))
  return child
}

/** The service's entry point: in the source tree, or in a package beside this one. */
function serviceEntry(): string {
  const inTree = fileURLToPath(new URL('../../../../enclave/attest/src/main.ts', import.meta.url))
  // A bundle lies elsewhere, where the same path would be somebody else’s file.
  if (import.meta.url.endsWith('/client/cli/src/commands/attest.ts') && existsSync(inTree)) return inTree
  try {
    return createRequire(import.meta.url).resolve('@cella/attest/main')
  } catch (cause) {
    throw new CliError(
      'ERR_SERVER_NOT_INSTALLED',
      'the attestation service is not part of this installation: only the client is',
      'run `npm run cella -- attest serve` in a checkout of the project',
      { cause },
    )
  }
}

interface Ready {
  readonly url: string
  readonly issuer: string
  readonly key: string
  readonly tee: string | null
}

/** The service's first word; its later ones go to standard error. */
async function untilReady(context: Context, child: ChildProcess, ended: Promise<number | null>): Promise<Ready> {
  const first = new Promise<Ready>((ready, failed) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const said = JSON.parse(line) as Ready & { event: string; code?: string; message?: string }
      if (said.event === 'ready') ready(said)
      else if (said.event === 'failed' && said.message !== undefined) {
        failed(new CliError('ERR_SERVER_UNAVAILABLE', `the service did not start: ${said.message} (${said.code})`))
      } else context.io.stderr.write(`${line}\n`)
    })
    void ended.then((code) =>
      failed(new CliError('ERR_SERVER_UNAVAILABLE', `the service ended at once (exit code ${code})`)),
    )
  })
  return first
}

interface PutFlags {
  readonly policy: string
  readonly service?: string
  readonly output?: string
  readonly freshness: string
  readonly root?: string[]
  readonly issuerFile?: string
  readonly revision?: number
  readonly from?: string
  readonly until?: string
  readonly days?: number
}

function addPut(policy: Command, cli: Cli): void {
  const put = leaf(policy, 'put <name>', {
    summary: 'sign a policy with your organisation’s root keys, and put it to a service',
    details:
      'The policy is a file (see cella evidence trust) or a preset. It replaces the one of that name: the service takes no lower revision again.',
    examples: [
      'cella attest policy put production --policy policy.json --service https://attest.example.org',
      'cella attest policy put rehearsal --policy policy.json --root simulated-root.json --freshness any --output rehearsal.json',
    ],
  })
    .requiredOption('--policy <policy>', `a policy file, or a preset: ${presets.map(({ name }) => name).join(', ')}`)
    .option('--service <url>', 'address of the attestation service')
    .option('--output <file>', 'also, or only, write what is put: for cella attest serve --policy')
    .option('--freshness <what>', 'what a request has to bring: nonce, binding, any', 'nonce')
    .option('--root <file>', 'JSON list of the roots to trust, in place of the vendors’; may be repeated', collect)
    .option('--issuer-file <file>', 'JSON list of services whose tokens are taken: {tee, issuer, jwks, simulated}')
    .option('--revision <number>', 'default: one above what the service knows', integerOption('--revision', 1))
    .option('--from <time>', 'from when (default: at once)')
    .option('--until <time>', 'until when')
    .option('--days <number>', 'for how many days (default: 365)', integerOption('--days', 1))
  does<PutFlags>(put, cli, async (context, [name], flags) => {
    if (!nameField.safeParse(name).success) throw new UsageError(`${name}: is no name`, 'a-z, digits, “-”, “_”, “.”')
    if (flags.service === undefined && flags.output === undefined)
      throw new UsageError('give --service, --output or both')
    if (!['nonce', 'binding', 'any'].includes(flags.freshness)) {
      throw new UsageError(`--freshness ${flags.freshness}: write nonce, binding or any`)
    }
    const appraisal = await appraisalOf(flags.policy)
    const session = await context.session()
    const organisation = await session.organisation()
    const known = flags.service === undefined ? [] : await policiesOf(flags.service, organisation)
    const revision = flags.revision ?? (known.find((one) => one.name === name)?.revision ?? 0) + 1
    await context.demand(`Sign policy ${name}, revision ${revision}, for your organisation?`)
    const { request, digest } = await signed(session, { name: name!, revision, appraisal, flags })
    const text = `${JSON.stringify(request)}\n`
    if (flags.output !== undefined) await writeNewFile(flags.output, text, { mode: 0o644, hint: 'choose another name' })
    if (flags.service !== undefined) await call(flags.service, 'PUT', '/v1/policies', text)
    return {
      data: { organisation, name, revision, digest, service: flags.service ?? null, output: flags.output ?? null },
      text: `policy ${name}, revision ${revision}: ${digest}`,
    }
  })
}

/** A policy file or a preset, as it stands in a document. */
export async function appraisalOf(given: string): Promise<{ readonly [name: string]: Json }> {
  const preset = presets.find(({ name }) => name === given)
  const value = preset === undefined ? ((await readJsonFile(given)) as Json) : appraisalPolicyJson(preset.policy)
  try {
    // What each request brings to be bound to is the request’s: the policy says whether it has to.
    return { ...appraisalPolicyJson(parseAppraisalPolicy(value)), reportData: 'any' }
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new CliError('ERR_FILE', `${given}: ${cause.message}`, 'see docs/formats/attestation-policy.md', { cause })
  }
}

async function signed(
  session: Session,
  {
    name,
    revision,
    appraisal,
    flags,
  }: { name: string; revision: number; appraisal: { readonly [name: string]: Json }; flags: PutFlags },
): Promise<{ request: Json; digest: Digest }> {
  const id = await session.organisation()
  const { documents } = await gather(session, { organisations: [id] })
  const { threshold } = documents.organisation(id).payload
  const { roots } = await session.keys()
  const [first, ...others] = roots.slice(0, threshold)
  if (first === undefined || roots.length < threshold) {
    throw new CliError(
      'ERR_REFUSED',
      `${threshold} root keys sign for the organisation, this profile holds ${roots.length}`,
      'use the profile that founded it: --profile NAME',
    )
  }
  const now = session.now()
  const window = windowOf(flags, now, now + 365 * 86_400)
  type Policy = Payload<'cella/attestation-policy'>
  const lists = await Promise.all((flags.root ?? []).map((file) => readJsonFile(file)))
  const payload: Policy = {
    type: 'cella/attestation-policy',
    version: 1,
    organisation: id,
    signer: first.keyId,
    cosigners: others.map(({ keyId }) => keyId),
    name,
    revision,
    ...window,
    freshness: flags.freshness as Policy['freshness'],
    roots: flags.root === undefined ? 'vendors' : (lists.flat() as Policy['roots'] & unknown[]),
    issuers: flags.issuerFile === undefined ? [] : ((await readJsonFile(flags.issuerFile)) as Policy['issuers']),
    policy: appraisal,
  }
  // Read back by its strict reader before anything is signed over.
  const document = await signDocument<'cella/attestation-policy'>(
    payload,
    [first, ...others].map(({ seed }) => seed.expose()),
  )
  const revisions = documents
    .all('cella/organisation')
    .filter((one) => (one.payload.organisation ?? one.digest) === id)
    .sort((a, b) => a.payload.revision - b.payload.revision)
  return {
    request: { organisation: revisions.map(({ envelope }) => envelope), policy: document.envelope },
    digest: document.digest,
  }
}

const listedSchema = z.object({
  policies: z
    .array(
      z.object({
        name: nameField,
        revision: z.int(),
        digest: digestField,
        notBefore: z.int(),
        notAfter: z.int(),
        freshness: z.string().max(20),
        inForce: z.boolean(),
      }),
    )
    .max(1000),
})

function addList(policy: Command, cli: Cli): void {
  const list = leaf(policy, 'list', {
    summary: 'the policies that a service has of an organisation, and whether they are in force',
    details: 'The service’s word: what a result was made by stands in the result, with the policy’s digest.',
    examples: [
      'cella attest policy list --service https://attest.example.org',
      'cella attest policy list --service http://127.0.0.1:7430 --organisation 1f0c…64 digits --json',
    ],
  })
    .requiredOption('--service <url>', 'address of the attestation service')
    .option('--organisation <id>', 'whose (default: your own)')
  does<{ service: string; organisation?: string }>(list, cli, async (context, _, flags) => {
    const organisation = await organisationOf(context, flags.organisation)
    const policies = await policiesOf(flags.service, organisation)
    return { data: { organisation, policies }, text: listText(policies, context) }
  })
}

async function organisationOf(context: Context, given: string | undefined): Promise<Digest> {
  const id = given ?? (await (await context.home()).profile()).organisation
  const parsed = digestField.safeParse(id)
  if (parsed.success) return parsed.data
  throw new UsageError('no organisation is named', '--organisation ID (cella org show prints it)')
}

type Listed = z.infer<typeof listedSchema>['policies']

function listText(policies: Listed, context: Context): Result['text'] {
  if (policies.length === 0) return 'no policies'
  const columns = ['policy', 'revision', 'in force', 'until', 'demands', 'digest'].map((name) => ({
    name,
    align: 'left' as const,
  }))
  const rows = policies.map(({ name, revision, inForce, notAfter, freshness, digest }) => [
    name,
    `${revision}`,
    inForce ? 'yes' : 'no',
    formatTime(notAfter),
    freshness,
    shortDigest(digest),
  ])
  return renderTable({ columns, rows }, context)
}

async function policiesOf(service: string, organisation: Digest): Promise<Listed> {
  const parsed = listedSchema.safeParse(await call(service, 'GET', `/v1/policies?organisation=${organisation}`))
  if (parsed.success) return parsed.data.policies
  throw new CliError('ERR_REFUSED', `${service} does not answer as an attestation service`, 'is it the right address?')
}

const answerBytesMax = 1_048_576

async function call(service: string, method: 'GET' | 'PUT', path: string, body?: string): Promise<unknown> {
  let status: number
  let json: unknown
  try {
    const response = await fetch(`${service.replace(/\/$/, '')}${path}`, {
      method,
      redirect: 'error',
      signal: AbortSignal.timeout(30_000),
      ...(body !== undefined && { body, headers: { 'content-type': 'application/json' } }),
    })
    status = response.status
    const text = await response.text()
    if (text.length > answerBytesMax) throw new Error('the answer is too long')
    json = JSON.parse(text)
  } catch (cause) {
    throw new CliError(
      'ERR_SERVER_UNAVAILABLE',
      `${service} can't be reached`,
      'is the address right, and does it run?',
      {
        cause,
      },
    )
  }
  if (status === 200) return json
  const error = (json as { error?: { code?: unknown; message?: unknown } } | null)?.error
  throw new CliError(
    'ERR_REFUSED',
    `the service refuses: ${printable(String(error?.message))} (${printable(String(error?.code))})`,
  )
}
