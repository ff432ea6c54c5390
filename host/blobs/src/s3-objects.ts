import { createHash } from 'node:crypto'
import { changed } from './folder-objects.ts'
import { checkKey, type ObjectStore } from './objects.ts'
import { S3Bucket, type S3Options } from './s3-bucket.ts'

const callsAtOnce = 8

/** Opens an object store below `prefix` of a bucket that is there already. */
export function openS3Objects(options: S3Options): ObjectStore {
  const bucket = new S3Bucket(options)
  return {
    get: async (key) => {
      checkKey(key)
      return bucket.get(key)
    },
    putNew: async (objects) => {
      const rest = [...objects]
      const write = async (): Promise<void> => {
        for (let next = rest.pop(); next !== undefined; next = rest.pop()) await putOne(bucket, ...next)
      }
      await Promise.all(Array.from({ length: callsAtOnce }, write))
    },
    put: async (key, bytes) => {
      checkKey(key)
      await bucket.put(key, Buffer.from(bytes))
    },
    removeBelow: async (folder) => {
      checkKey(folder)
      for (const { key } of await bucket.list(`${folder}/`)) await bucket.remove(key)
    },
  }
}

async function putOne(bucket: S3Bucket, key: string, bytes: Uint8Array): Promise<void> {
  checkKey(key)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  // Not every server knows If-None-Match: what is there is looked at first, and a race between two writers of one log
  // writes the same bytes.
  const present = await bucket.get(key)
  if (present === undefined && (await bucket.putNew(key, Buffer.from(bytes), sha256))) return
  const found = present ?? (await bucket.get(key))
  if (found === undefined || Buffer.compare(found, bytes) !== 0) throw changed(key)
}
