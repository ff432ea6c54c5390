import { statSync } from 'node:fs'
import { z } from 'zod'

/** One thing that `cella doctor` looked at. */
export interface Finding {
  readonly check: string
  readonly ok: boolean
  readonly found: string
  readonly fix?: string
}

interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

const readinessSchema = z.object({ checks: z.record(z.string().max(60), z.string().max(60)) })
const day = 86_400
/** Free space that is enough on a disk of any size. */
const plentyBytes = 20 * 2 ** 30
const partNames: Readonly<Record<string, string>> = { database: 'PostgreSQL', blobs: 'blobs', log: 'log server' }

/** What `/readyz` says of each part. */
export function readinessFindings(answer: unknown): Finding[] {
  const parsed = readinessSchema.safeParse(answer)
  if (!parsed.success) return []
  return Object.entries(parsed.data.checks).map(([name, state]) => ({
    check: partNames[name] ?? name,
    ok: state === 'ok',
    found: state,
    fix: 'see logs/ in the data folder of the server',
  }))
}

/** What the manager's metrics say about disk, witnesses, log, certificate and workers. Nothing is believed but for advice. */
export function metricsFindings(text: string, now: number): Finding[] {
  const samples = parseMetrics(text)
  const all = (name: string): Sample[] => samples.filter((sample) => sample.name === name)
  const findings: Finding[] = []
  const disk = (kind: string): number | undefined =>
    all('cella_disk_bytes').find(({ labels }) => labels.kind === kind)?.value
  const [free, whole] = [disk('free'), disk('all')]
  if (free !== undefined && whole !== undefined && whole > 0) {
    findings.push({
      check: 'disk',
      ok: free / whole >= 0.1 || free >= plentyBytes,
      found: `${Math.round((free / whole) * 100)} % of the server’s disk is free (${(free / 2 ** 30).toFixed(1)} GiB)`,
      fix: 'make space, or set retention: docs/manager.md',
    })
  }
  for (const { value } of all('cella_log_diverged')) {
    findings.push({
      check: 'log history',
      ok: value === 0,
      found: value === 0 ? 'each checkpoint goes on from the one before' : 'the log contradicts what it signed before',
      fix: 'docs/operations.md, “The log diverged”',
    })
  }
  for (const { labels, value } of all('cella_log_witness_behind_seconds')) {
    findings.push({
      check: `witness ${labels.witness ?? ''}`,
      ok: value <= 60,
      found: value === 0 ? 'has cosigned the newest checkpoint' : `is ${Math.ceil(value)} s behind`,
      fix: 'its operator starts it; until then nothing that needs it is acknowledged',
    })
  }
  for (const { value } of all('cella_tls_certificate_end_seconds')) {
    const days = Math.floor((value - now) / day)
    findings.push({
      check: 'certificate',
      ok: days >= 14,
      found: days < 0 ? 'has ended' : `ends in ${days} days`,
      fix: 'renew its files: they are read again within a minute',
    })
  }
  const workers = all('cella_workers')
  findings.push({
    check: 'workers',
    ok: workers.length > 0,
    found:
      workers
        .map(({ labels, value }) => `${value} of boundary ${labels.boundary}, isolation ${labels.isolation}`)
        .join('; ') || 'none asks for runs',
    fix: 'cella up --workers COUNT',
  })
  return findings
}

const workersSchema = z.object({
  workers: z.array(
    z.object({
      name: z.string().max(200),
      refused: z.object({ code: z.string().max(100), text: z.string().max(4096) }).optional(),
    }),
  ),
})

/** Workers that the manager offers nothing, with the reason, as `/v1/workers` has it. */
export function refusedWorkers(answer: unknown): Finding[] {
  const parsed = workersSchema.safeParse(answer)
  if (!parsed.success) return []
  return parsed.data.workers.flatMap(({ name, refused }) =>
    refused === undefined
      ? []
      : [
          {
            check: `worker ${name}`,
            ok: false,
            found: `is offered no runs: ${refused.code}: ${refused.text}`,
            fix: 'docs/manager.md, “The queue”, says what each reason means',
          },
        ],
  )
}

/** Whether what a server on this machine keeps is closed to others. */
export function serverFolderFindings(folder: string): Finding[] {
  if (process.platform === 'win32') return []
  const found = statSync(folder, { throwIfNoEntry: false })
  if (found === undefined) return []
  // What lies in it is reached through it alone.
  const isOpen = (found.mode & 0o077) !== 0
  return [
    {
      check: 'data folder',
      ok: !isOpen,
      found: `${folder} ${isOpen ? 'can be read by others' : 'is closed to others'}`,
      fix: `chmod 700 ${folder}`,
    },
  ]
}

/** Samples of Prometheus’ text format with finite values; what is of another form is left out. */
function parseMetrics(text: string): Sample[] {
  return [...text.matchAll(/^(cella_[a-z0-9_]+)(?:\{([^}\n]{0,500})\})? ([0-9.e+-]+)$/gm)].map(
    ([, name, labels, value]) => ({
      name: name!,
      labels: Object.fromEntries(
        [...(labels ?? '').matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, key, text]) => [key!, text!]),
      ),
      value: Number(value),
    }),
  )
}
