import { existsSync } from 'node:fs'
import type { Secret } from '@cella/bytes'
import type { Keystore } from '@cella/keystore'
import type { CommandTrace, Home, Keys, Session } from '@cella/sdk'
import { CliError } from './error.ts'
import { confirm } from './terminal/confirm.ts'
import { type Progress, startProgress } from './terminal/progress.ts'
import { type Style, styleFor } from './terminal/style.ts'
import { formatCount } from './terminal/units.ts'

/** The streams and environment of a process. */
export interface Io {
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Options that every command has. */
export interface GlobalOptions {
  readonly home?: string
  readonly profile?: string
  readonly manager?: string
  readonly json?: boolean
  readonly yes?: boolean
  readonly passphraseFd?: number
  readonly traces?: string
}

/** What a command works with. Homes, keystores and sessions are loaded and opened when first asked for. */
export interface Context {
  readonly io: Io
  readonly options: GlobalOptions
  /** For standard output. */
  readonly style: Style
  /** For standard error. */
  readonly errStyle: Style
  /** Cells of a line on standard output. */
  readonly width: number
  home(): Promise<Home>
  keystore(): Promise<Keystore>
  session(): Promise<Session>
  passphrase(prompt: string, options?: { confirm?: string; fd?: number | undefined }): Promise<Secret>
  /** Throws unless the person agrees or `--yes` was given. */
  demand(question: string): Promise<void>
  /** In bytes, or in entries of a log. */
  progress(label: string, unit?: 'entry'): Progress
  /** A line for the person who waits, on standard error; not in JSON mode. */
  say(line: string): void
}

export function makeContext(io: Io, options: GlobalOptions, trace?: CommandTrace): Context {
  const errStyle = styleFor({ isTTY: io.stderr.isTTY === true, env: io.env })
  let home: Promise<Home> | undefined
  let keystore: Promise<Keystore> | undefined
  let keys: Promise<Keys> | undefined
  let session: Promise<Session> | undefined
  const context: Context = {
    io,
    options,
    style: styleFor({ isTTY: io.stdout.isTTY === true, env: io.env }),
    errStyle,
    width: Math.max(40, Math.min(io.stdout.columns ?? 100, 160)),
    home() {
      home ??= import('@cella/sdk').then(({ openHome }) =>
        openHome({ folder: options.home, profile: options.profile, env: io.env }),
      )
      return home
    },
    keystore() {
      keystore ??= context.home().then(async (own) => {
        const { openProfileKeystore } = await import('@cella/sdk')
        // Said before anyone types a passphrase for nothing.
        if (!existsSync(own.keystorePath)) {
          const { KeystoreError } = await import('@cella/keystore')
          throw new KeystoreError('ERR_KEYSTORE_UNAVAILABLE', `profile ${own.profileName} has no keystore yet`)
        }
        const passphrase = await context.passphrase(`Passphrase of profile ${own.profileName}: `)
        try {
          return await openProfileKeystore(own, passphrase)
        } finally {
          passphrase.destroy()
        }
      })
      return keystore
    },
    session() {
      session ??= context.home().then(async (own) => {
        const { keysOf, openSession } = await import('@cella/sdk')
        return openSession({
          home: own,
          manager: options.manager,
          trace,
          unlock: () => {
            keys ??= context.keystore().then(keysOf)
            return keys
          },
        })
      })
      return session
    },
    async passphrase(prompt, more = {}) {
      const { readPassphrase } = await import('@cella/keystore')
      const fd = more.fd ?? options.passphraseFd
      if (fd !== undefined) return readPassphrase({ fd })
      return readPassphrase({
        prompt,
        ...(more.confirm !== undefined && { confirm: more.confirm }),
        input: io.stdin,
        output: io.stderr,
      })
    },
    async demand(question) {
      if (options.yes === true) return
      if (!(await confirm(question, io))) {
        throw new CliError('ERR_NOT_CONFIRMED', 'you said no; nothing was done')
      }
    },
    progress(label, unit) {
      const target = { isTTY: io.stderr.isTTY === true && options.json !== true, columns: io.stderr.columns ?? 80 }
      return startProgress(
        label,
        { ...target, write: (text) => void io.stderr.write(text) },
        () => performance.now(),
        unit && entryAmount,
      )
    },
    say(line) {
      if (options.json !== true) io.stderr.write(`${line}\n`)
    },
  }
  return context
}

function entryAmount(count: number): string {
  return formatCount(Math.round(count), 'entry', 'entries')
}
