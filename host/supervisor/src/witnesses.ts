import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { writeJson } from './files.ts'

export interface Witness {
  readonly name: string
  readonly vkey: string
  readonly url: string
  /** Of one that runs here. */
  readonly config: string | undefined
}

/** Witnesses of this installation's own, one a port: each makes its key where it has none. */
export async function localWitnesses(
  { dataFolder, logKey, ports }: { dataFolder: string; logKey: string; ports: readonly number[] },
  run: (...parameters: string[]) => Promise<Record<string, unknown>>,
): Promise<Witness[]> {
  const witnesses: Witness[] = []
  for (const [at, port] of ports.entries()) {
    const name = `witness-${at + 1}`
    const folder = join(dataFolder, 'witnesses', name)
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const config = join(folder, 'config.json')
    writeJson(config, {
      name: `${name}.local`,
      file: join(folder, 'state.db'),
      keyFile: join(folder, 'key'),
      logs: [logKey],
      listen: { host: '127.0.0.1', port },
    })
    const { vkey } = await run('--config', config, '--init')
    witnesses.push({ name, vkey: String(vkey), url: `http://127.0.0.1:${port}`, config })
  }
  return witnesses
}

export function foreignWitness({ vkey, url }: { vkey: string; url: string }): Witness {
  return { name: vkey.split('+')[0] ?? vkey, vkey, url, config: undefined }
}

/** A tlog-policy that wants every witness. Organisations may want others in their terms. */
export function policyText(logKey: string, witnesses: readonly Witness[]): string {
  const names = witnesses.map((_, at) => `w${at + 1}`)
  return [
    `log ${logKey}`,
    ...witnesses.map(({ vkey, url }, at) => `witness ${names[at]} ${vkey} ${url}`),
    ...(witnesses.length > 1 ? [`group all-witnesses all ${names.join(' ')}`] : []),
    `quorum ${witnesses.length > 1 ? 'all-witnesses' : (names[0] ?? 'none')}`,
    '',
  ].join('\n')
}
