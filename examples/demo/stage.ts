import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** `installation.json` of the supervisor: what organisations look at before they put it into their terms. */
export interface InstallationFile {
  readonly manager: string
  readonly logPolicy: string
  readonly log: { readonly origin: string; readonly vkey: string }
  readonly roots: readonly {
    tee: 'sev-snp'
    product: 'Milan' | 'Genoa' | 'Turin' | 'Venice'
    spki: string
    simulated: boolean
  }[]
  readonly builds: { readonly vault: readonly string[]; readonly worker: readonly string[] }
}

/** The operator's machine: a real installation in processes of its own. */
export class Stage {
  readonly folder: string
  #process: ChildProcess | undefined
  #options: readonly string[]

  constructor(folder: string, options: readonly string[] = []) {
    this.folder = folder
    this.#options = options
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  }

  /** Of the supervisor, while it runs. */
  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** Starts it, and waits until a run could be served. Throws with the supervisor's own words. */
  async up(more: readonly string[] = []): Promise<InstallationFile> {
    const supervisor = join(root, 'host/supervisor/src/main.ts')
    const child = spawn(
      process.execPath,
      [
        '--disable-warning=ExperimentalWarning',
        supervisor,
        '--data',
        this.folder,
        '--end-with-input',
        ...this.#options,
        ...more,
      ],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    )
    this.#process = child
    const failures: string[] = []
    createInterface({ input: child.stderr! }).on('line', (line) => failures.push(line))
    const lines = createInterface({ input: child.stdout! })
    await new Promise<void>((resolve, reject) => {
      lines.on('line', (line) => {
        if (line.includes('"ready"')) resolve()
      })
      child.once('close', () => reject(new Error(`the installation did not come up: ${failures.join(' ')}`)))
    })
    return this.installation()
  }

  installation(): InstallationFile {
    return JSON.parse(readFileSync(join(this.folder, 'installation.json'), 'utf8'))
  }

  /** Ends it and waits for all of its processes. */
  async down(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null) return
    const ended = new Promise((resolve) => child.once('close', resolve))
    child.kill('SIGTERM')
    await ended
  }
}
