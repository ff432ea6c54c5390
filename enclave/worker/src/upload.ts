import { ChannelError, type HostClient } from '@cella/channel'
import { digestOf } from '@cella/primitives'
import { z } from 'zod'

const partBytes = 4 * 1024 * 1024
const createdSchema = z.object({
  done: z.boolean().optional(),
  upload: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,100}$/)
    .optional(),
  offset: z.int().min(0).optional(),
})

/** Stores `bytes` under their SHA-256: a few at once; of many, what is there already is not sent again. */
export async function uploadBlob(host: HostClient, bytes: Uint8Array): Promise<void> {
  const sha256 = digestOf(bytes)
  if (bytes.length <= partBytes) {
    await host.send('PUT', `/v1/uploads?sha256=${sha256}`, bytes)
    return
  }
  const created = createdSchema.parse(await host.json('POST', '/v1/uploads', { size: bytes.length, sha256 }))
  if (created.done) return
  if (created.upload === undefined) throw new ChannelError('ERR_HOST_MALFORMED', 'the manager opened no upload')
  for (let offset = created.offset ?? 0; offset < bytes.length; offset += partBytes) {
    await host.send('PUT', `/v1/uploads/${created.upload}?offset=${offset}`, bytes.subarray(offset, offset + partBytes))
  }
  await host.json('POST', `/v1/uploads/${created.upload}/complete`, {})
}
