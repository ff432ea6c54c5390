import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'

export interface CertificateFiles {
  readonly certificateFile: string
  readonly keyFile: string
}

const lifetimeMs = 10 * 365 * 86_400_000

/**
 * A certificate that the installation made for itself, P-256, in its data folder: made at the first call and kept. No
 * authority vouches for it; those who come by an invitation know its key.
 */
export async function selfSignedCertificate(dataFolder: string, host: string): Promise<CertificateFiles> {
  const folder = join(dataFolder, 'tls')
  const files = { certificateFile: join(folder, 'certificate.pem'), keyFile: join(folder, 'key.pem') }
  if (existsSync(files.certificateFile)) return files
  // Some two hundred modules, needed once.
  const { generate } = await import('selfsigned')
  const made = await generate([{ name: 'commonName', value: host }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notAfterDate: new Date(Date.now() + lifetimeMs),
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames: [isIP(host) === 0 ? { type: 2, value: host } : { type: 7, ip: host }] },
    ],
  })
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(files.keyFile, made.private, { mode: 0o600, flush: true })
  // Last, and whole: that it is there says that both are.
  writeFileSync(`${files.certificateFile}.tmp`, made.cert, { mode: 0o600, flush: true })
  renameSync(`${files.certificateFile}.tmp`, files.certificateFile)
  return files
}
