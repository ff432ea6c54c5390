import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeHex, encodeBase64url } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import { commitmentOf, encodeLeaf, publishedTag } from '@cella/log'
import { randomBytes } from '@cella/primitives'
import pg from 'pg'

/** A connection to the installation's own database, as its manager has it. */
export async function databaseOf(data: string): Promise<pg.Client> {
  const folder = join(data, 'manager/postgres')
  const password = readFileSync(join(folder, 'password'), 'utf8').trim()
  const client = new pg.Client({
    ...{ host: join(folder, 'data'), port: 5432 },
    ...{ user: 'cella', password, database: 'postgres' },
  })
  await client.connect()
  return client
}

const leavesAtOnce = 256

/** Brings documents into log and database as their submissions would, thousands in a second. They must mention nothing. */
export async function submitMany(
  data: string,
  { manager, documents }: { manager: string; documents: readonly SignedDocument[] },
): Promise<void> {
  const { workerToken } = JSON.parse(readFileSync(join(data, 'state.json'), 'utf8')) as { workerToken: string }
  const rows = documents.map((document) => {
    const salt = randomBytes(32)
    const commitment = commitmentOf('document', salt, decodeHex(document.digest, 'digest'))
    return { document, salt, leaf: encodeLeaf({ kind: 'document', commitment, tag: publishedTag(document.digest) }) }
  })
  const client = await databaseOf(data)
  try {
    for (let at = 0; at < rows.length; at += leavesAtOnce) {
      const part = rows.slice(at, at + leavesAtOnce)
      const answer = await fetch(`${manager}/v1/log/entries`, {
        method: 'POST',
        headers: { authorization: `Bearer ${workerToken}`, 'content-type': 'application/octet-stream' },
        body: Buffer.concat(part.map(({ leaf }) => leaf)),
      })
      if (!answer.ok) throw new Error(`the log takes no leaves: ${answer.status}`)
      const { indices } = (await answer.json()) as { indices: number[] }
      const values = part.map(({ document: { digest, type, payload, envelope }, salt, leaf }, n) => ({
        ...{ digest, type, organisation: payload.organisation, signer: payload.signer, envelope },
        ...{ salt: encodeBase64url(salt), leaf: encodeBase64url(leaf), leaf_index: indices[n] },
      }))
      await client.query(
        `insert into documents (digest, type, organisation, signer, envelope, salt, leaf, leaf_index)
         select digest, type, organisation, signer, envelope, salt, leaf, leaf_index
         from jsonb_populate_recordset(null::documents, $1::jsonb)`,
        [JSON.stringify(values)],
      )
    }
  } finally {
    await client.end()
  }
}
