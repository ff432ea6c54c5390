import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeBase64, decodeUtf8, FormatError } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import { TeeError } from '../error.ts'
import { errorName, lookAt, readWhole } from '../files.ts'
import { snpPiece } from '../snp-pieces.ts'
import { type Attempt, type EvidencePiece, type Probe, requireLength, type SourceDriver } from '../source.ts'
import { jsonObject, readingAnswer, textMember } from './answer.ts'
import { addressText, callService, lookForService, type ServiceAddress } from './request.ts'
import { thimCertificates } from './thim.ts'

// Azure Container Instances, confidential: the files that the utility VM puts into $UVM_SECURITY_CONTEXT_DIR, and a report
// from the sidecar of microsoft/confidential-sidecar-containers or, where a driver for it is given, from /dev/sev-guest.

const fileBytesMax = 131_072
const names = ['security-policy-base64', 'reference-info-base64', 'host-amd-cert-base64'] as const

export interface AciOptions {
  /** The value of UVM_SECURITY_CONTEXT_DIR; without it the folder `security-context-*` of `root` is looked for. */
  readonly securityContext?: string
  readonly root?: string
  readonly sidecar?: ServiceAddress
  /** A driver that gives SNP reports over 64 bytes of ours, asked first: the sidecar hashes what it is given once more. */
  readonly report?: SourceDriver
  readonly timeoutMs?: number
}

/** A confidential container group on Azure Container Instances. */
export function aciDriver(options: AciOptions = {}): SourceDriver {
  const { sidecar = { host: '127.0.0.1', port: 8080 }, timeoutMs = 30_000 } = options
  return {
    name: 'azure-container-group',
    title: 'Azure Container Instances: container group on AMD SEV-SNP',
    async probe(): Promise<Probe> {
      const attempts: Attempt[] = []
      const folder = await contextFolder(options, attempts)
      if (folder === undefined) {
        return { source: undefined, attempts, why: 'UVM_SECURITY_CONTEXT_DIR is not set and no such folder is there' }
      }
      for (const name of names) {
        if (!(await lookAt(join(folder, name), 'r', attempts))) {
          return { source: undefined, attempts, why: `the security context lacks ${name}` }
        }
      }
      const direct = await options.report?.probe()
      attempts.push(...(direct?.attempts ?? []))
      if (direct?.source === undefined && !(await lookForService(sidecar, timeoutMs, attempts))) {
        return { source: undefined, attempts, why: `no sidecar at ${addressText(sidecar)} gives reports` }
      }
      const source = direct?.source
      return {
        attempts,
        source: {
          name: 'azure-container-group',
          bindingLength: 64,
          ...(source === undefined && { rehashes: 'sha256' as const }),
          async collect(binding): Promise<readonly EvidencePiece[]> {
            requireLength(binding, 64)
            const own = Uint8Array.from(binding)
            const context = await readContext(folder)
            const raw = source
              ? (await source.collect(own)).map(({ fields }) => fields.report as Uint8Array)[0]!
              : await sidecarReport(sidecar, own, timeoutMs)
            const bound = source ? own : sha256(own)
            const { report, certificates } = snpPiece(raw, [context.certificates], bound).fields
            return [
              {
                role: 'container-group',
                format: 'azure-container-group/1',
                fields: {
                  report: report!,
                  certificates: certificates!,
                  policy: context.policy,
                  uvmEndorsement: context.endorsement,
                },
              },
            ]
          },
        },
      }
    },
  }
}

interface Context {
  /** PEM of VCEK, ASK and ARK, as the host's THIM service gave them at start. */
  readonly certificates: Uint8Array
  /** The CCE policy, Rego: its SHA-256 is the report's HOST_DATA. */
  readonly policy: Uint8Array
  /** COSE_Sign1 of the utility VM's publisher over its launch measurement. */
  readonly endorsement: Uint8Array
}

async function readContext(folder: string): Promise<Context> {
  const [policy, endorsement, certificates] = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name)
      const text = await readFileOr(path)
      return readingAnswer(path, () => decodeBase64(decodeUtf8(text, name).trim(), name))
    }),
  )
  return {
    policy: policy!,
    endorsement: endorsement!,
    certificates: readingAnswer(join(folder, names[2]), () => thimCertificates(certificates!)),
  }
}

async function readFileOr(path: string): Promise<Uint8Array> {
  try {
    return await readWhole(path, fileBytesMax)
  } catch (cause) {
    if (cause instanceof TeeError) throw cause
    throw new TeeError('ERR_TEE_UNAVAILABLE', `${path}: ${errorName(cause)}`, { cause })
  }
}

/** REPORT_DATA of the sidecar's report is SHA-256 of what it was given, with zeros after it. */
async function sidecarReport(sidecar: ServiceAddress, data: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
  const answer = await callService(sidecar, {
    method: 'POST',
    path: '/attest/raw',
    body: { runtime_data: data.toBase64() },
    timeoutMs,
  })
  return readingAnswer('the sidecar’s report', () => {
    const report = textMember(jsonObject(answer, 'answer'), 'report')
    if (!/^(?:[0-9a-fA-F]{2})+$/.test(report)) throw new FormatError('report', 'is not hexadecimal')
    return Uint8Array.fromHex(report)
  })
}

async function contextFolder(options: AciOptions, attempts: Attempt[]): Promise<string | undefined> {
  if (options.securityContext !== undefined) return options.securityContext
  const root = options.root ?? '/'
  const found = (await readdir(root)).filter((name) => /^security-context-[A-Za-z0-9_-]{1,64}$/.test(name))
  attempts.push({ what: join(root, 'security-context-*'), found: found.length === 0 ? 'ENOENT' : found.join(', ') })
  return found.length === 1 ? join(root, found[0]!) : undefined
}
