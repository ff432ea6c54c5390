import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { canonicalJson } from '@cella/bytes'
import { parseDocumentOf } from '@cella/documents'
import { z } from 'zod'
import { type CertificateFiles, selfSignedCertificate } from './certificate.ts'
import { Child, type ChildOptions, compileCache, runOnce, runToEnd } from './child.ts'
import { SupervisorError } from './error.ts'
import { readJson, writeJson } from './files.ts'
import { endLeftovers } from './leftovers.ts'
import { type KeyProcesses, keySetting, passLogKey, startLogKey } from './log-key.ts'
import { freePorts, isFree } from './ports.ts'
import { publicUrlOf } from './public-url.ts'
import { installSigner, openSigner, type SignerFolder } from './signer-folder.ts'

export interface InstallationOptions {
  /** Everything that the installation keeps. */
  readonly dataFolder: string
  /** Folder with vault.mjs, worker.mjs, the worker's runner and builds.json; looked at when a data folder is started first. */
  readonly enclaves: string
  /** Folder of the project's sources or of an installed package, for the entry points of the host's own processes. */
  readonly root: string
  /** Of the manager: this one and no other. 0 or absent: that of last time, else any free one or the usual one. */
  readonly port: number | undefined
  /** Where others reach the manager, over TLS: with these files, or under a certificate of the installation's own. */
  readonly public?:
    | { readonly host: string; readonly port: number; readonly tls: CertificateFiles | 'self-signed' }
    | undefined
  readonly workers: number
  /** Vaults beside the first, for owners who want a vault of their own. Default 1 in all. */
  readonly vaults?: number | undefined
  /** Vaults that join the first and stand in for it: of the same build. Default 0. */
  readonly replicas?: number | undefined
  /** Folder with another build of the enclaves, of which a vault joins the first: for organisations that accept it. */
  readonly nextEnclaves?: string | undefined
  /** Until when the first vault is served, Unix seconds: told to who asks. */
  readonly vaultUntil?: number | undefined
  /**
   * Kinds of TEE to simulate. The vault has the first at the first start of a data folder, and keeps it: what it seals
   * opens nowhere else. Workers have them in turn. Empty: those of last time, or the usual one.
   */
  readonly tees: readonly string[]
  /** Witnesses to run here. Only rehearsal: under one user they watch nobody. */
  readonly localWitnesses: number
  /** Others' witnesses, added to those known. */
  readonly witnesses: readonly { readonly vkey: string; readonly url: string }[]
  /** Whether an attestation service runs beside them, reached through the manager under /attest. */
  readonly attest?: boolean
  /** Under which address others reach the manager, where it is not `public`'s: part of the service's issuer. */
  readonly publicUrl?: string | undefined
  /** What enclaves are told instead of the manager's own address, such as a proxy before it. Binds nothing. */
  readonly managerUrl?: string | undefined
  /** How long a worker may be silent before its run is given to the next attempt. */
  readonly leaseSeconds?: number
  /** Seconds by which the clocks of manager and log are wrong: to rehearse a host that lies about the time. */
  readonly hostClockOffset?: number | undefined
  /**
   * Where the key of a new log lies: in an enclave of its own, which is the default, or in a file of the host. A log keeps
   * what it began with.
   */
  readonly logSigner?: 'enclave' | 'host' | undefined
  /** Whether the log's key passes to the log signer in `enclaves`, where that is another one than what holds it. */
  readonly upgradeLogSigner?: boolean | undefined
  /** A PostgreSQL of the operator's; without it one of the installation's own. */
  readonly databaseUrl?: string | undefined
}

const buildsSchema = z.looseObject({
  organisation: z.string(),
  builds: z.strictObject({
    vault: z.string(),
    worker: z.string(),
    attestationService: z.string().exactOptional(),
    logSigner: z.string().exactOptional(),
  }),
  bundles: z.array(z.looseObject({ role: z.string(), file: z.string().regex(/^[a-z-]+\.[cm]js$/) })),
  options: z.array(z.string()),
})
const stateSchema = z.strictObject({
  origin: z.string(),
  workerToken: z.string(),
  ports: z.array(z.int()),
  witnesses: z.array(z.strictObject({ vkey: z.string(), url: z.string() })),
  /** The version of the log signer that holds the log's key; `host`: a file does. */
  logSigner: z.string().default('host'),
  /** The version that the key is passing to. */
  nextLogSigner: z.string().exactOptional(),
  /** The log's key, once it is known. */
  vkey: z.string().exactOptional(),
  /** The vault's kind of TEE first, then those of the workers. */
  tees: z.array(z.string()).min(2).default(['sev-snp', 'sev-snp']),
})
type State = z.infer<typeof stateSchema>
const leftStatusSchema = z.object({
  processes: z.array(z.object({ pid: z.int().min(1).nullable(), startedAt: z.string().nullable() })),
})

interface Witness {
  readonly name: string
  readonly vkey: string
  readonly url: string
  readonly config: string | undefined
}

/** One installation, from its data folder to its running processes. */
export class Installation {
  readonly #options: InstallationOptions
  readonly #children: Child[] = []
  readonly #ready = new Map<string, Record<string, unknown>>()
  readonly #startedAt = new Date().toISOString()
  #url = ''
  readonly #stop = new AbortController()
  #starting: Promise<void> = Promise.resolve()
  #statusTimer: NodeJS.Timeout | undefined
  #onReport: () => void = () => undefined

  constructor(options: InstallationOptions) {
    this.#options = { ...options, dataFolder: resolve(options.dataFolder), enclaves: resolve(options.enclaves) }
  }

  /**
   * Starts everything in the order in which each needs the others, and returns once a run could be served. Throws
   * ERR_STOPPED when it is stopped meanwhile.
   */
  start(): Promise<void> {
    this.#starting = this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    const { dataFolder } = this.#options
    mkdirSync(join(dataFolder, 'logs'), { recursive: true, mode: 0o700 })
    await this.#endLeftovers()
    const enclaves = await this.#enclaves()
    const builds = this.#builds(enclaves)
    let state = this.#state(enclaves, builds)
    const tee = join(dataFolder, 'tee')
    const logConfig = join(dataFolder, 'config', 'log.json')
    const [vaultTee, ...workerTees] = state.tees as [string, string, ...string[]]
    const create = [this.#entry('enclave/tee/src/simulated/create-main.ts'), '--folder', tee]
    const { roots } = await this.#command([...create, ...new Set(state.tees)])

    const count = this.#options.localWitnesses
    const wanted = [await this.#managerPort(state), ...state.ports.slice(1)]
    const nextBuild = await this.#nextEnclaves()
    const apart = vaultNames(this.#options.vaults ?? 1)
    const joining = [...replicaNames(this.#options.replicas ?? 0), ...(nextBuild === undefined ? [] : ['vault-next'])]
    const names = [...apart, ...joining]
    // The last one is where the first vault listens for those that join it.
    const ports = await freePorts(Array.from({ length: 5 + count + names.length }, (_, at) => wanted[at] ?? 0))
    const [managerPort, logPort, firstVaultPort, attestPort, signerPort, ...otherPorts] = ports as [
      number,
      number,
      number,
      number,
      number,
      ...number[],
    ]
    const witnessPorts = otherPorts.slice(0, count)
    const vaultPorts = [firstVaultPort, ...otherPorts.slice(count, -1)]
    const joinAt = { host: '127.0.0.1', port: otherPorts.at(-1)! }
    state = this.#keep({ ...state, ports })
    this.#url = `http://127.0.0.1:${managerPort}`

    const log = this.#entry('host/log/src/main.ts')
    const processes = this.#keyProcesses(log, logConfig)
    const settings = { port: signerPort, roots, tee: { kind: 'simulated', folder: tee, tee: vaultTee } }
    writeJson(logConfig, this.#logConfig(state, { logPort, signerPort }, []))
    const vkey = await startLogKey(dataFolder, state, { settings, processes })
    state = this.#keep({ ...state, vkey })
    const witnesses = [...(await this.#localWitnesses(vkey, witnessPorts)), ...state.witnesses.map(foreign)]
    writeJson(logConfig, this.#logConfig(state, { logPort, signerPort }, witnesses))

    for (const { name, config } of witnesses) {
      if (config === undefined) continue
      this.#run(name, [this.#entry('client/witness/src/main.ts'), '--config', config])
    }
    await this.#until(() => witnesses.every(({ name, config }) => config === undefined || this.#ready.has(name)))
    const next = this.#nextSigner(state)
    if (next !== undefined) {
      const { nextLogSigner: _, ...now } = this.#keep({ ...state, nextLogSigner: next })
      await passLogKey(dataFolder, now, { next, nextPort: attestPort, settings, processes })
      state = this.#keep({ ...now, logSigner: next })
    }
    this.#run('log', [...this.#clock(), log, '--config', logConfig])

    const logPolicy = policyText(vkey, witnesses)
    const manager = this.#options.managerUrl ?? this.#url
    for (const [at, name] of names.entries()) {
      const isNext = name === 'vault-next'
      const joins = joining.includes(name)
        ? { join: { from: [joinAt] } }
        : name === 'vault' && joining.length > 0
          ? { join: { listen: joinAt, from: [] } }
          : {}
      this.#runEnclave(
        name,
        join(isNext ? nextBuild!.folder : enclaves, 'vault.mjs'),
        (isNext ? nextBuild! : builds).options,
        {
          manager,
          token: state.workerToken,
          logPolicy,
          listen: { host: '127.0.0.1', port: vaultPorts[at] },
          folder: join(dataFolder, name),
          ...joins,
          tee: { kind: 'simulated', folder: tee, tee: vaultTee },
        },
      )
    }
    if (this.#options.attest)
      this.#runAttest(enclaves, builds.options, { port: attestPort, tee: { folder: tee, tee: vaultTee } })
    await this.#until(() => names.every((name) => this.#ready.has(`${name}:listening`)) && this.#ready.has('log'))
    const vaults = names.map((name, at) => ({
      id: String(this.#ready.get(`${name}:listening`)!.id),
      url: `http://127.0.0.1:${vaultPorts[at]}`,
      ...(name === 'vault' && this.#options.vaultUntil !== undefined && { until: this.#options.vaultUntil }),
    }))
    const managerConfig = join(dataFolder, 'config', 'manager.json')
    writeJson(managerConfig, {
      listen: { host: '127.0.0.1', port: managerPort },
      ...(await this.#public()),
      dataFolder: join(dataFolder, 'manager'),
      ...(this.#options.databaseUrl && { database: { url: this.#options.databaseUrl } }),
      log: { url: `http://127.0.0.1:${logPort}`, vkey },
      vaults,
      ...(this.#options.attest && { attest: { url: `http://127.0.0.1:${attestPort}` } }),
      workerToken: state.workerToken,
      limits: { leaseSeconds: this.#options.leaseSeconds ?? 30 },
    })
    this.#run('manager', [...this.#clock(), this.#entry('host/manager/src/main.ts'), '--config', managerConfig])
    await this.#until(() => this.#ready.has('manager') && names.every((name) => this.#ready.has(`${name}:ready`)))
    const signerBuild = state.logSigner === 'host' ? undefined : openSigner(dataFolder, state.logSigner)
    await this.#publishBuilds([
      builds.organisation,
      builds.builds.vault,
      builds.builds.worker,
      ...(builds.builds.attestationService === undefined ? [] : [builds.builds.attestationService]),
      ...(signerBuild ? [signerBuild.organisation, signerBuild.build] : []),
    ])
    if (nextBuild !== undefined) await this.#publishBuilds([nextBuild.organisation, nextBuild.builds.vault])
    for (let at = 1; at <= this.#options.workers; at++) {
      this.#runEnclave(`worker-${at}`, join(enclaves, 'worker.mjs'), builds.options, {
        manager,
        token: state.workerToken,
        name: `worker-${at}`,
        logPolicy,
        runner: join(enclaves, fileOf(builds, 'runner')),
        pool: 2,
        tee: { kind: 'simulated', folder: tee, tee: workerTees[(at - 1) % workerTees.length] },
      })
    }
    const awaited = Array.from({ length: this.#options.workers }, (_, at) => `worker-${at + 1}:ready`)
    if (this.#options.attest) awaited.push('attest:ready')
    await this.#until(() => awaited.every((name) => this.#ready.has(name)))
    writeJson(join(dataFolder, 'installation.json'), {
      format: 'cella-installation/1',
      manager: this.#url,
      public: this.#ready.get('manager')!.public,
      log: { origin: state.origin, vkey },
      logPolicy,
      witnesses: witnesses.map(({ name, vkey: key, url, config }) => ({
        name,
        vkey: key,
        url,
        local: config !== undefined,
      })),
      vaults: vaults.map(({ id }) => id),
      roots,
      builder: parseDocumentOf('cella/organisation', builds.organisation).digest,
      builds: {
        vault: [builds, ...(nextBuild === undefined ? [] : [nextBuild])].map(
          (one) => parseDocumentOf('cella/build', one.builds.vault).digest,
        ),
        worker: [parseDocumentOf('cella/build', builds.builds.worker).digest],
        ...(builds.builds.attestationService !== undefined && {
          attestationService: [parseDocumentOf('cella/build', builds.builds.attestationService).digest],
        }),
        ...(signerBuild && { logSigner: [parseDocumentOf('cella/build', signerBuild.build).digest] }),
      },
      simulated: true,
    })
    this.#writeStatus()
  }

  /** Ends all processes, those that others depend on last. Nothing is started any more, and nothing is left. */
  async stop(): Promise<void> {
    this.#stop.abort(new SupervisorError('ERR_STOPPED', 'it was told to end'))
    // What is at work in a start ends first: it may be about to start the next process.
    await this.#starting.catch(() => undefined)
    const order = (name: string): number =>
      name.startsWith('worker') || name === 'attest'
        ? 0
        : name.startsWith('log-signer')
          ? 4
          : ['vault', 'manager', 'log'].findIndex(
              (kind) =>
                name === kind || name.startsWith(`${kind}-`) || (kind === 'vault' && name.startsWith('replica-')),
            ) + 1 || 4
    const stages = new Map<number, Child[]>()
    for (const child of this.#children) {
      const stage = order(child.name)
      stages.set(stage, [...(stages.get(stage) ?? []), child])
    }
    for (const stage of [...stages.keys()].sort((a, b) => a - b)) {
      await Promise.all(stages.get(stage)!.map((child) => child.stop(stage === 2 ? 20_000 : 8000)))
    }
    this.#writeStatus()
  }

  /** Address of the manager. */
  get url(): string {
    return this.#url
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

  /** Node options that make a host process believe another time: the one that config/clock says, also when it changes. */
  #clock(): string[] {
    const offset = this.#options.hostClockOffset
    if (offset === undefined) return []
    const file = join(this.#options.dataFolder, 'config/clock')
    writeJson(file, offset)
    const shift = `import { readFileSync } from 'node:fs'
      const real = Date
      let offset = 0
      const read = () => {
        const text = readFileSync(${JSON.stringify(file)}, 'utf8').trim()
        if (/^-?[0-9]+$/.test(text)) offset = Number(text) * 1000
      }
      read()
      setInterval(read, 100).unref()
      globalThis.Date = class Date extends real {
        constructor(...parts) { super(...(parts.length === 0 ? [real.now() + offset] : parts)) }
        static now() { return real.now() + offset }
      }`
    return ['--import', `data:text/javascript,${encodeURIComponent(shift)}`]
  }

  #entry(path: string): string {
    return join(this.#options.root, path)
  }

  /**
   * The enclaves of this data folder: copied at its first start and kept, for what a vault seals opens under the same
   * measurement alone. Where there is a source tree and nothing was built yet, they are built first.
   */
  async #enclaves(): Promise<string> {
    const own = join(this.#options.dataFolder, 'enclaves')
    if (existsSync(join(own, 'builds.json'))) return own
    const source = this.#options.enclaves
    const script = this.#entry('scripts/build-enclave.ts')
    if (!existsSync(join(source, 'builds.json')) && existsSync(script)) {
      await runToEnd(process.execPath, [...quiet, script], this.#stop.signal)
    }
    if (!existsSync(join(source, 'builds.json'))) {
      throw new SupervisorError('ERR_ENCLAVES_MISSING', `${join(source, 'builds.json')} is not there`, {
        hint: 'npm run build:enclave makes it',
      })
    }
    mkdirSync(own, { recursive: true, mode: 0o700 })
    // The builder's key stays where it was made; builds.json comes last, for it says that all others are there.
    const { bundles } = this.#builds(source)
    const files = bundles.filter(({ role }) => startedRoles.has(role)).map(({ file }) => file)
    for (const name of [...files, 'builds.json']) copyFileSync(join(source, name), join(own, name))
    return own
  }

  /** Another build, copied beside the first and kept: what its vault seals opens under its measurement alone. */
  async #nextEnclaves(): Promise<(z.infer<typeof buildsSchema> & { folder: string }) | undefined> {
    const folder = join(this.#options.dataFolder, 'enclaves-next')
    const source = this.#options.nextEnclaves
    if (!existsSync(join(folder, 'builds.json'))) {
      if (source === undefined) return undefined
      this.#builds(source)
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      for (const name of ['vault.mjs', 'builds.json']) copyFileSync(join(source, name), join(folder, name))
    }
    return { ...this.#builds(folder), folder }
  }

  #builds(enclaves: string): z.infer<typeof buildsSchema> {
    const path = join(enclaves, 'builds.json')
    const parsed = buildsSchema.safeParse(readJson(path))
    if (!parsed.success) throw new SupervisorError('ERR_ENCLAVES_MISSING', `${path} is not what a build writes`)
    return parsed.data
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

  #state(enclaves: string, builds: z.infer<typeof buildsSchema>): State {
    const path = join(this.#options.dataFolder, 'state.json')
    const known = readJson(path)
    const parsed = stateSchema.safeParse(
      known ?? {
        origin: `cella.local/${randomBytes(8).toString('hex')}`,
        workerToken: randomBytes(32).toString('base64url'),
        ports: [],
        witnesses: [],
        logSigner:
          this.#options.logSigner === 'host' ? 'host' : signerOf(this.#options.dataFolder, enclaves, builds).id,
        ...(this.#options.tees.length > 0 && { tees: [this.#options.tees[0], ...this.#options.tees] }),
      },
    )
    if (!parsed.success) {
      throw new SupervisorError('ERR_DATA_MALFORMED', `${path} is not what a supervisor writes`, {
        hint: 'restore it from a backup, or start anew with another --data folder',
      })
    }
    const others = this.#options.witnesses.filter(({ vkey }) => !parsed.data.witnesses.some((one) => one.vkey === vkey))
    const [vault, ...workers] = parsed.data.tees
    const tees = this.#options.tees.length > 0 ? this.#options.tees : workers
    return { ...parsed.data, witnesses: [...parsed.data.witnesses, ...others], tees: [vault!, ...tees] }
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
    const { id } = signerOf(dataFolder, enclaves, this.#builds(enclaves))
    return id === logSigner ? undefined : id
  }

  #keyProcesses(log: string, logConfig: string): KeyProcesses {
    return {
      runEnclave: (...launch) => this.#runEnclave(...launch),
      reported: (event) => this.#ready.get(event),
      until: (condition) => this.#until(condition),
      log: (...parameters) => this.#command([log, '--config', logConfig, ...parameters]),
      end: async (name) => {
        const at = this.#children.findIndex((child) => child.name === name)
        await this.#children.splice(at, 1)[0]?.stop()
      },
    }
  }

  #keep(state: State): State {
    writeJson(join(this.#options.dataFolder, 'state.json'), state)
    return state
  }

  #logConfig(
    state: State,
    { logPort, signerPort }: { logPort: number; signerPort: number },
    witnesses: readonly Witness[],
  ): object {
    const folder = this.#options.dataFolder
    return {
      origin: state.origin,
      folder: join(folder, 'log'),
      lastSigned: join(folder, 'last-signed'),
      ...keySetting(folder, state, signerPort),
      witnesses: witnesses.map(({ vkey, url }) => ({ vkey, url })),
      listen: { host: '127.0.0.1', port: logPort },
    }
  }

  async #localWitnesses(logKey: string, ports: readonly number[]): Promise<Witness[]> {
    const witnesses: Witness[] = []
    for (const [at, port] of ports.entries()) {
      const name = `witness-${at + 1}`
      const folder = join(this.#options.dataFolder, 'witnesses', name)
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      const config = join(folder, 'config.json')
      writeJson(config, {
        name: `${name}.local`,
        file: join(folder, 'state.db'),
        keyFile: join(folder, 'key'),
        logs: [logKey],
        listen: { host: '127.0.0.1', port },
      })
      const entry = this.#entry('client/witness/src/main.ts')
      const { vkey } = await this.#command([entry, '--config', config, '--init'])
      witnesses.push({ name, vkey: String(vkey), url: `http://127.0.0.1:${port}`, config })
    }
    return witnesses
  }

  /** Runs a program of the host to its end. */
  #command(parameters: readonly string[]): Promise<Record<string, unknown>> {
    return runOnce(process.execPath, [...quiet, ...parameters], this.#stop.signal)
  }

  #run(name: string, parameters: readonly string[]): void {
    this.#add(
      new Child({
        ...this.#childOptions(name),
        command: process.execPath,
        arguments: [...quiet, ...parameters],
        environment: { PATH: process.env.PATH ?? '', ...compileCache() },
        onReport: (report) => this.#report(name, report),
      }),
    )
  }

  #runEnclave(name: string, bundle: string, options: readonly string[], configuration: object): void {
    this.#add(
      new Child({
        ...this.#childOptions(name),
        command: process.execPath,
        arguments: [...options, bundle],
        input: () => canonicalJson(configuration),
        onReport: (report) => this.#report(`${name}:${String(report.event)}`, report),
      }),
    )
  }

  /** In the installation's TEE; it takes the policies of everybody, each for their own evidence. */
  #runAttest(
    enclaves: string,
    options: readonly string[],
    { port, tee }: { port: number; tee: { folder: string; tee: string } },
  ): void {
    const folder = join(this.#options.dataFolder, 'attest')
    const collateral = join(folder, 'collateral')
    mkdirSync(collateral, { recursive: true, mode: 0o700 })
    this.#runEnclave('attest', join(enclaves, 'attest.mjs'), options, {
      listen: { host: '127.0.0.1', port },
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
      tee: { kind: 'simulated', ...tee },
    })
  }

  #childOptions(name: string): Pick<ChildOptions, 'name' | 'logFile' | 'onChange' | 'onEnd'> {
    return {
      name,
      logFile: join(this.#options.dataFolder, 'logs', `${name}.log`),
      onChange: () => this.#writeStatus(),
      onEnd: () => {
        // What it said no longer holds: the next one says it anew.
        for (const event of [
          name,
          ...['listening', 'ready', 'successor', 'standing', 'joined'].map((what) => `${name}:${what}`),
        ]) {
          this.#ready.delete(event)
        }
      },
    }
  }

  #add(child: Child): void {
    this.#stop.signal.throwIfAborted()
    this.#children.push(child)
    child.start()
  }

  #report(name: string, report: Record<string, unknown>): void {
    this.#ready.set(name, report)
    if (name.endsWith(':standing') || name.endsWith(':joined')) this.#writeStatus()
    this.#onReport()
  }

  /** Waits for reports; a process that keeps ending before is an error with its log. Throws ERR_STOPPED. */
  async #until(condition: () => boolean): Promise<void> {
    const deadline = performance.now() + 60_000
    for (;;) {
      this.#stop.signal.throwIfAborted()
      if (condition()) return
      const failing = this.#children.find(({ starts, pid }) => starts >= 3 && pid === undefined)
      if (failing !== undefined || performance.now() > deadline) {
        const names = failing?.name ?? this.#children.filter(({ name }) => !this.#isReady(name)).map(({ name }) => name)
        throw new SupervisorError(
          'ERR_PROCESS_FAILED',
          `${names} does not come up (${failing?.failure?.error ?? failing?.lastExit ?? 'no answer'})`,
          {
            hint: [failing?.failure?.hint, `see ${join(this.#options.dataFolder, 'logs')}`].filter(Boolean).join('; '),
          },
        )
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100)
        this.#onReport = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  #isReady(name: string): boolean {
    return this.#ready.has(name) || this.#ready.has(`${name}:ready`)
  }

  /** The builder's organisation and its Build documents, so that terms can name them. */
  async #publishBuilds(documents: readonly string[]): Promise<void> {
    for (const document of new Set(documents)) {
      const response = await fetch(`${this.#url}/v1/documents`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ document, salt: randomBytes(32).toString('base64url') }),
        signal: this.#stop.signal,
      })
      if (!response.ok) {
        throw new SupervisorError(
          'ERR_PROCESS_FAILED',
          `the manager refused a Build document: ${await response.text()}`,
        )
      }
    }
  }

  /** Where the disk takes no more, the status stays as it was until there is room. */
  #writeStatus(): void {
    clearTimeout(this.#statusTimer)
    try {
      writeJson(join(this.#options.dataFolder, 'status.json'), this.#status())
    } catch {
      if (this.#stop.signal.aborted) return
      this.#statusTimer = setTimeout(() => this.#writeStatus(), 1000)
      this.#statusTimer.unref()
    }
  }

  /** What a vault says of itself in numbers, and what came of its joining another. */
  #vaultStanding(name: string): object {
    const standing = this.#ready.get(`${name}:standing`)
    const joined = this.#ready.get(`${name}:joined`)
    if (standing === undefined) return {}
    const { organisations, standsInFor, epochs } = standing
    return { vault: { organisations, standsInFor, epochs, refused: joined?.refused ?? 0 } }
  }

  #status(): object {
    return {
      format: 'cella-status/1',
      pid: process.pid,
      startedAt: this.#startedAt,
      state: this.#stop.signal.aborted
        ? 'stopping'
        : existsSync(join(this.#options.dataFolder, 'installation.json'))
          ? 'up'
          : 'starting',
      manager: this.#url,
      processes: this.#children.map(({ name, pid, startedAt, starts, lastExit }) => ({
        name,
        pid: pid ?? null,
        // Ticks since boot: tells the process apart from a later one of its number.
        startedAt: startedAt ?? null,
        restarts: Math.max(0, starts - 1),
        ready: pid !== undefined && this.#isReady(name),
        lastExit: lastExit ?? null,
        ...this.#vaultStanding(name),
      })),
    }
  }
}

function signerOf(dataFolder: string, enclaves: string, built: z.infer<typeof buildsSchema>): SignerFolder {
  const { organisation, builds, options } = built
  if (builds.logSigner === undefined) {
    throw new SupervisorError('ERR_ENCLAVES_MISSING', `${enclaves} was built without a log signer`, {
      hint: 'npm run build:enclave makes it; or say --log-signer host',
    })
  }
  const bundle = join(enclaves, fileOf(built, 'log-signer'))
  return installSigner(dataFolder, bundle, { organisation, build: builds.logSigner, options })
}

const usualPort = 7411
const startedRoles: ReadonlySet<string> = new Set(['vault', 'worker', 'runner', 'attest', 'log-signer'])
const quiet = ['--disable-warning=ExperimentalWarning']

/** By name: what a data folder keeps may be of an older build. */
function fileOf({ bundles }: z.infer<typeof buildsSchema>, role: string): string {
  const found = bundles.find((bundle) => bundle.role === role)
  if (found === undefined) throw new SupervisorError('ERR_ENCLAVES_MISSING', `builds.json names no ${role}`)
  return found.file
}

function replicaNames(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `replica-${at + 1}`)
}

/** The first is `vault`, as it was when there was one. */
function vaultNames(count: number): string[] {
  return Array.from({ length: count }, (_, at) => (at === 0 ? 'vault' : `vault-${at + 1}`))
}

function foreign({ vkey, url }: { vkey: string; url: string }): Witness {
  return { name: vkey.split('+')[0] ?? vkey, vkey, url, config: undefined }
}

/** A tlog-policy that wants every witness. Organisations may want others in their terms. */
function policyText(logKey: string, witnesses: readonly Witness[]): string {
  const names = witnesses.map((_, at) => `w${at + 1}`)
  return [
    `log ${logKey}`,
    ...witnesses.map(({ vkey, url }, at) => `witness ${names[at]} ${vkey} ${url}`),
    ...(witnesses.length > 1 ? [`group all-witnesses all ${names.join(' ')}`] : []),
    `quorum ${witnesses.length > 1 ? 'all-witnesses' : (names[0] ?? 'none')}`,
    '',
  ].join('\n')
}
