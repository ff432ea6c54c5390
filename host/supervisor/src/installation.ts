import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseDocumentOf } from '@cella/documents'
import { z } from 'zod'
import { selfSignedCertificate } from './certificate.ts'
import { clockOptions } from './clock.ts'
import { bundleOf, type Enclaves, nextEnclaves, ownEnclaves, readEnclaves, signerOf } from './enclaves.ts'
import { SupervisorError } from './error.ts'
import { readJson, writeJson } from './files.ts'
import { endLeftovers } from './leftovers.ts'
import { type KeyProcesses, keySetting, passLogKey, startLogKey } from './log-key.ts'
import type { InstallationOptions } from './options.ts'
import { freePorts, isFree } from './ports.ts'
import { Processes } from './processes.ts'
import { publicUrlOf } from './public-url.ts'
import { openSigner, type SignerFolder } from './signer-folder.ts'
import { keepState, readState, type State } from './state.ts'
import { foreignWitness, localWitnesses, policyText, type Witness } from './witnesses.ts'

const leftStatusSchema = z.object({
  processes: z.array(z.object({ pid: z.int().min(1).nullable(), startedAt: z.string().nullable() })),
})
const usualPort = 7411

interface Ports {
  readonly manager: number
  readonly log: number
  readonly attest: number
  readonly signer: number
  readonly witnesses: readonly number[]
  readonly vaults: readonly number[]
  /** Where the first vault listens for those that join it. */
  readonly join: number
}

/** What is known before the first process is started. */
interface Plan {
  readonly enclaves: Enclaves
  /** Another build, of which a vault joins the first. */
  readonly next: Enclaves | undefined
  /** Names of the vaults, the first one first. */
  readonly vaults: readonly string[]
  /** Those among them that join the first. */
  readonly joining: readonly string[]
  readonly ports: Ports
  /** Of the simulated platform. */
  readonly roots: unknown
}

/** The log's side of it, once it runs. */
interface RunningLog {
  readonly state: State
  readonly vkey: string
  readonly witnesses: readonly Witness[]
  /** A tlog-policy. */
  readonly policy: string
}

/** One installation, from its data folder to its running processes. */
export class Installation {
  readonly #options: InstallationOptions
  readonly #processes: Processes
  readonly #startedAt = new Date().toISOString()
  #url = ''
  #starting: Promise<void> = Promise.resolve()
  #statusTimer: NodeJS.Timeout | undefined

  constructor(options: InstallationOptions) {
    this.#options = { ...options, dataFolder: resolve(options.dataFolder), enclaves: resolve(options.enclaves) }
    this.#processes = new Processes({ dataFolder: this.#options.dataFolder, onChange: () => this.#writeStatus() })
  }

  /** Address of the manager. */
  get url(): string {
    return this.#url
  }

  /**
   * Starts everything in the order in which each needs the others, and returns once a run could be served. Throws
   * ERR_STOPPED when it is stopped meanwhile.
   */
  start(): Promise<void> {
    this.#starting = this.#start()
    return this.#starting
  }

  /** Ends all processes, those that others depend on last. Nothing is started any more, and nothing is left. */
  async stop(): Promise<void> {
    this.#processes.refuseMore()
    // What is at work in a start ends first: it may be about to start the next process.
    await this.#starting.catch(() => undefined)
    await this.#processes.endAll()
    this.#writeStatus()
  }

  async #start(): Promise<void> {
    const { dataFolder } = this.#options
    mkdirSync(join(dataFolder, 'logs'), { recursive: true, mode: 0o700 })
    await this.#endLeftovers()
    const enclaves = await ownEnclaves(this.#options, this.#processes.signal)
    const { plan, state } = await this.#plan(enclaves, readState(this.#options, enclaves))
    this.#url = `http://127.0.0.1:${plan.ports.manager}`
    const log = await this.#startLog(plan, state)
    this.#startVaults(plan, log)
    if (this.#options.attest) this.#startAttest(plan, log)
    await this.#processes.all([...plan.vaults.map((name) => `${name}:listening`), 'log'])
    const vaults = await this.#startManager(plan, log)
    const signer = log.state.logSigner === 'host' ? undefined : openSigner(dataFolder, log.state.logSigner)
    await this.#publishBuilds(plan, signer)
    const workers = this.#startWorkers(plan, log)
    await this.#processes.all([...workers, ...(this.#options.attest ? ['attest'] : [])].map((name) => `${name}:ready`))
    this.#describe(plan, { log, vaults, signer })
    this.#writeStatus()
  }

  async #plan(enclaves: Enclaves, state: State): Promise<{ plan: Plan; state: State }> {
    const { dataFolder, localWitnesses: count, nextEnclaves: source } = this.#options
    const create = [this.#entry('enclave/tee/src/simulated/create-main.ts'), '--folder', join(dataFolder, 'tee')]
    const { roots } = await this.#processes.command([...create, ...new Set(state.tees)])
    const next = nextEnclaves(dataFolder, source)
    const joining = [...replicaNames(this.#options.replicas ?? 0), ...(next === undefined ? [] : ['vault-next'])]
    const vaults = [...vaultNames(this.#options.vaults ?? 1), ...joining]
    const wanted = [await this.#managerPort(state), ...state.ports.slice(1)]
    const all = await freePorts(Array.from({ length: 5 + count + vaults.length }, (_, at) => wanted[at] ?? 0))
    const [manager, log, firstVault, attest, signer, ...others] = all as [
      number,
      number,
      number,
      number,
      number,
      ...number[],
    ]
    const ports = {
      manager,
      log,
      attest,
      signer,
      witnesses: others.slice(0, count),
      vaults: [firstVault, ...others.slice(count, -1)],
      join: others.at(-1)!,
    }
    return { plan: { enclaves, next, vaults, joining, ports, roots }, state: this.#keep({ ...state, ports: all }) }
  }

  /** The log with its key and its witnesses. */
  async #startLog({ ports, roots }: Plan, before: State): Promise<RunningLog> {
    const { dataFolder } = this.#options
    const program = this.#entry('host/log/src/main.ts')
    const config = join(dataFolder, 'config', 'log.json')
    const processes = this.#keyProcesses([program, '--config', config])
    const settings = { port: ports.signer, roots, tee: this.#tee(before) }
    writeJson(config, this.#logConfig(before, ports, []))
    const vkey = await startLogKey(dataFolder, before, { settings, processes })
    let state = this.#keep({ ...before, vkey })

    const entry = this.#entry('client/witness/src/main.ts')
    const witnesses = [
      ...(await localWitnesses({ dataFolder, logKey: vkey, ports: ports.witnesses }, (...parameters) =>
        this.#processes.command([entry, ...parameters]),
      )),
      ...state.witnesses.map(foreignWitness),
    ]
    const local = witnesses.filter((witness) => witness.config !== undefined)
    for (const witness of local) this.#processes.run(witness.name, [entry, '--config', witness.config!])
    await this.#processes.all(local.map(({ name }) => name))
    writeJson(config, this.#logConfig(state, ports, witnesses))

    const next = this.#nextSigner(state)
    if (next !== undefined) {
      const { nextLogSigner: _, ...now } = this.#keep({ ...state, nextLogSigner: next })
      await passLogKey(dataFolder, now, { next, nextPort: ports.attest, settings, processes })
      state = this.#keep({ ...now, logSigner: next })
    }
    this.#processes.run('log', [...this.#clock(), program, '--config', config])
    return { state, vkey, witnesses, policy: policyText(vkey, witnesses) }
  }

  #startVaults(plan: Plan, log: RunningLog): void {
    const { vaults, joining, ports } = plan
    const listen = { host: '127.0.0.1', port: ports.join }
    const { coverSeconds } = this.#options
    for (const [at, name] of vaults.entries()) {
      const enclaves = name === 'vault-next' ? plan.next! : plan.enclaves
      const isGiver = name === 'vault' && joining.length > 0
      this.#processes.runEnclave(name, join(enclaves.folder, bundleOf(enclaves, 'vault')), enclaves.options, {
        ...this.#reach(enclaves, { ports, log }),
        listen: { host: '127.0.0.1', port: ports.vaults[at] },
        folder: join(this.#options.dataFolder, name),
        ...(joining.includes(name) && { join: { from: [listen] } }),
        ...(coverSeconds !== undefined && { coverSeconds }),
        ...(isGiver && { join: { listen, from: [] } }),
        tee: this.#tee(log.state),
      })
    }
  }

  /** In the installation's TEE; it takes the policies of everybody, each for their own evidence. */
  #startAttest({ enclaves, ports }: Plan, { state }: RunningLog): void {
    const folder = join(this.#options.dataFolder, 'attest')
    const collateral = join(folder, 'collateral')
    mkdirSync(collateral, { recursive: true, mode: 0o700 })
    this.#processes.runEnclave('attest', join(enclaves.folder, bundleOf(enclaves, 'attest')), enclaves.options, {
      listen: { host: '127.0.0.1', port: ports.attest },
      issuer: `${publicUrlOf(this.#options) ?? this.#url}/attest`,
      folder,
      collateral,
      organisations: 'any',
      policies: [],
      tokenSeconds: 300,
      keyDays: 90,
      rotate: false,
      // All come from the manager, which limits each address.
      limits: { addressPerSecond: 1_000_000, organisationPerSecond: 100 },
      log: 'warn',
      tee: this.#tee(state),
    })
  }

  /** Returns the ids of the vaults that it serves. */
  async #startManager({ vaults: names, ports, roots }: Plan, { state, vkey }: RunningLog): Promise<string[]> {
    const { dataFolder, databaseUrl, blobs, vaultUntil, attest, traces, leaseSeconds } = this.#options
    const ids = names.map((name) => String(this.#processes.reported(`${name}:listening`)!.id))
    const config = join(dataFolder, 'config', 'manager.json')
    writeJson(config, {
      listen: { host: '127.0.0.1', port: ports.manager },
      ...(await this.#public()),
      dataFolder: join(dataFolder, 'manager'),
      ...(databaseUrl && { database: { url: databaseUrl } }),
      ...(blobs && { blobs }),
      log: { url: `http://127.0.0.1:${ports.log}`, vkey },
      vaults: ids.map((id, at) => ({
        id,
        url: `http://127.0.0.1:${ports.vaults[at]}`,
        ...(at === 0 && vaultUntil !== undefined && { until: vaultUntil }),
      })),
      ...(attest && { attest: { url: `http://127.0.0.1:${ports.attest}` } }),
      ...(traces && { traces: { endpoint: traces } }),
      workerToken: state.workerToken,
      workers: { roots },
      limits: { leaseSeconds: leaseSeconds ?? 30 },
    })
    this.#processes.run('manager', [...this.#clock(), this.#entry('host/manager/src/main.ts'), '--config', config])
    await this.#processes.all(['manager', ...names.map((name) => `${name}:ready`)])
    return ids
  }

  /** Returns their names. */
  #startWorkers({ enclaves, ports }: Plan, log: RunningLog): string[] {
    const [, ...tees] = log.state.tees
    const names = Array.from({ length: this.#options.workers }, (_, at) => `worker-${at + 1}`)
    for (const [at, name] of names.entries()) {
      this.#processes.runEnclave(name, join(enclaves.folder, bundleOf(enclaves, 'worker')), enclaves.options, {
        ...this.#reach(enclaves, { ports, log }),
        name,
        runner: join(enclaves.folder, bundleOf(enclaves, 'runner')),
        pool: 2,
        tee: this.#tee(log.state, tees[at % tees.length]),
      })
    }
    return names
  }

  /** The builder's organisation and its Build documents, so that terms can name them. */
  async #publishBuilds({ enclaves, next }: Plan, signer: SignerFolder | undefined): Promise<void> {
    const { organisation, builds } = enclaves
    const documents = [
      ...[organisation, builds.vault, builds.worker],
      ...(builds.attestationService === undefined ? [] : [builds.attestationService]),
      ...(signer ? [signer.organisation, signer.build] : []),
      ...(next ? [next.organisation, next.builds.vault] : []),
    ]
    for (const document of new Set(documents)) {
      const response = await fetch(`${this.#url}/v1/documents`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ document, salt: randomBytes(32).toString('base64url') }),
        signal: this.#processes.signal,
      })
      if (!response.ok) {
        throw new SupervisorError(
          'ERR_PROCESS_FAILED',
          `the manager refused a Build document: ${await response.text()}`,
        )
      }
    }
  }

  /** What clients find it by: DATA/installation.json. */
  #describe(
    { enclaves, next, roots }: Plan,
    { log, vaults, signer }: { log: RunningLog; vaults: readonly string[]; signer: SignerFolder | undefined },
  ): void {
    const { builds } = enclaves
    writeJson(join(this.#options.dataFolder, 'installation.json'), {
      format: 'cella-installation/1',
      manager: this.#url,
      public: this.#processes.reported('manager')!.public,
      log: { origin: log.state.origin, vkey: log.vkey },
      logPolicy: log.policy,
      witnesses: log.witnesses.map(({ name, vkey, url, config }) => ({ name, vkey, url, local: config !== undefined })),
      vaults,
      roots,
      builder: parseDocumentOf('cella/organisation', enclaves.organisation).digest,
      builds: {
        vault: [builds.vault, ...(next ? [next.builds.vault] : [])].map(buildDigest),
        worker: [buildDigest(builds.worker)],
        ...(builds.attestationService && { attestationService: [buildDigest(builds.attestationService)] }),
        ...(signer && { logSigner: [buildDigest(signer.build)] }),
      },
      simulated: true,
    })
  }

  /** How vaults and workers reach the others. */
  #reach({ settings }: Enclaves, { ports, log }: { ports: Ports; log: RunningLog }): object {
    const { managerUrl } = this.#options
    return {
      manager: managerUrl ?? this.#url,
      // Behind a proxy of the manager, enclaves reach the log through that as well; older ones know no other way.
      ...(managerUrl === undefined && settings.includes('log') && { log: `http://127.0.0.1:${ports.log}` }),
      token: log.state.workerToken,
      logPolicy: log.policy,
    }
  }

  /** The simulated TEE of this kind; the vault's where none is named. */
  #tee({ tees }: State, tee = tees[0]): object {
    return { kind: 'simulated', folder: join(this.#options.dataFolder, 'tee'), tee }
  }

  /** What an earlier supervisor that was killed left running, by the last status it wrote. */
  async #endLeftovers(): Promise<void> {
    const status = leftStatusSchema.safeParse(readJson(join(this.#options.dataFolder, 'status.json')))
    if (!status.success) return
    await endLeftovers(
      status.data.processes.flatMap(({ pid, startedAt }) =>
        pid === null || startedAt === null ? [] : [{ pid, startedAt }],
      ),
    )
  }

  #clock(): string[] {
    return clockOptions(this.#options.dataFolder, this.#options.hostClockOffset)
  }

  #entry(path: string): string {
    return join(this.#options.root, path)
  }

  #keep(state: State): State {
    return keepState(this.#options.dataFolder, state)
  }

  /** The manager's setting for those who come from elsewhere. */
  async #public(): Promise<{ readonly public?: object }> {
    const wanted = this.#options.public
    if (wanted === undefined) return {}
    const { host, port, tls } = wanted
    const files = tls === 'self-signed' ? await selfSignedCertificate(this.#options.dataFolder, host) : tls
    return { public: { host, port, ...files } }
  }

  /** The port that was asked for and no other; else the one of last time, where it is free. */
  async #managerPort(state: State): Promise<number> {
    const { port } = this.#options
    if (port === undefined || port === 0) return state.ports[0] ?? port ?? usualPort
    if (await isFree(port)) return port
    throw new SupervisorError('ERR_PORT_TAKEN', `port ${port} is taken by another program`, {
      hint: 'choose another one with --port, or leave --port out to take any free one',
    })
  }

  /** The version of the log signer that the key is to pass to, if it is another one than now. Throws ERR_LOG_KEY. */
  #nextSigner({ logSigner, nextLogSigner }: State): string | undefined {
    const { dataFolder, enclaves, upgradeLogSigner } = this.#options
    if (nextLogSigner !== undefined) return nextLogSigner
    if (!upgradeLogSigner) return undefined
    if (logSigner === 'host') {
      throw new SupervisorError('ERR_LOG_KEY', 'this log’s key lies in a file, and passes to no enclave', {
        hint: 'a key that was outside once stays known there; a new data folder begins with an enclave',
      })
    }
    const { id } = signerOf(dataFolder, readEnclaves(enclaves))
    return id === logSigner ? undefined : id
  }

  #keyProcesses(log: readonly string[]): KeyProcesses {
    return {
      runEnclave: (...launch) => this.#processes.runEnclave(...launch),
      reported: (event) => this.#processes.reported(event),
      until: (condition) => this.#processes.until(condition),
      end: (name) => this.#processes.end(name),
      log: (...parameters) => this.#processes.command([...log, ...parameters]),
    }
  }

  #logConfig(state: State, ports: Ports, witnesses: readonly Witness[]): object {
    const folder = this.#options.dataFolder
    return {
      origin: state.origin,
      folder: join(folder, 'log'),
      lastSigned: join(folder, 'last-signed'),
      ...keySetting(folder, state, ports.signer),
      witnesses: witnesses.map(({ vkey, url }) => ({ vkey, url })),
      listen: { host: '127.0.0.1', port: ports.log },
    }
  }

  /** Where the disk takes no more, the status stays as it was until there is room. */
  #writeStatus(): void {
    clearTimeout(this.#statusTimer)
    try {
      writeJson(join(this.#options.dataFolder, 'status.json'), this.#status())
    } catch {
      if (this.#processes.signal.aborted) return
      this.#statusTimer = setTimeout(() => this.#writeStatus(), 1000)
      this.#statusTimer.unref()
    }
  }

  #status(): object {
    const isUp = existsSync(join(this.#options.dataFolder, 'installation.json'))
    return {
      format: 'cella-status/1',
      pid: process.pid,
      startedAt: this.#startedAt,
      state: this.#processes.signal.aborted ? 'stopping' : isUp ? 'up' : 'starting',
      manager: this.#url,
      processes: this.#processes.list(),
    }
  }
}

function buildDigest(build: string): string {
  return parseDocumentOf('cella/build', build).digest
}

function replicaNames(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `replica-${at + 1}`)
}

/** The first is `vault`, as it was when there was one. */
function vaultNames(count: number): string[] {
  return Array.from({ length: count }, (_, at) => (at === 0 ? 'vault' : `vault-${at + 1}`))
}
