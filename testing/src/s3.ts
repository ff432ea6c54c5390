import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

// Ships no types and has its entry where not every tool finds it.
const require: NodeJS.Require = createRequire(import.meta.url)
// biome-ignore lint/correctness/noUnresolvedImports: a folder as entry, which Node finds
const S3rver = require('s3rver') as new (options: {
  port: number
  address: string
  silent: boolean
  directory: string
  configureBuckets: readonly { name: string }[]
}) => { run(): Promise<{ port: number }>; close(): Promise<void> }

/** What `startS3` takes. */
export const s3Credentials = { region: 'us-east-1', accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER', bucket: 'cella' }

/**
 * s3rver, an independent server of the S3 API, with one bucket. It neither checks signatures of version 4 nor knows
 * If-None-Match.
 */
export async function startS3(): Promise<{ readonly endpoint: string; close(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'cella-s3-'))
  const configureBuckets = [{ name: s3Credentials.bucket }]
  const server = new S3rver({ port: 0, address: '127.0.0.1', silent: true, directory, configureBuckets })
  const { port } = await server.run()
  return {
    endpoint: `http://127.0.0.1:${port}`,
    close: async () => {
      await server.close()
      await rm(directory, { recursive: true })
    },
  }
}
