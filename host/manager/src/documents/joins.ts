import type { Digest } from '@cella/bytes'
import { parseDocumentOf } from '@cella/documents'
import type { Kysely } from 'kysely'
import type { Tables } from '../database/tables.ts'
import { accepted, fitting, mentioning } from './bearing.ts'
import { keepLogged, type LoggedAt } from './logged.ts'

/** Documents by which a vault may appraise another for this organisation: its terms, the builds that they name, and their makers. */
export async function bearingOnTerms(tables: Kysely<Tables>, organisation: Digest): Promise<string[]> {
  const [basics, joins] = await Promise.all([
    accepted(tables, organisation),
    mentioning(tables, ['cella/join'], [organisation]),
  ])
  const rows = new Map([...joins, ...basics].map((row) => [row.digest, row]))
  return fitting([...rows.values()]).map(({ envelope }) => envelope)
}

/** Keeps what two vaults signed and logged, for whoever judges what the second of them does from then on. */
export function keepJoin(tables: Kysely<Tables>, given: LoggedAt & { document: string }): Promise<Digest> {
  const join = parseDocumentOf('cella/join', given.document)
  // Found by whose it is, and by the terms that it rests on.
  return keepLogged(tables, join, { at: given, kind: 'document', about: [join.payload.owner, join.payload.terms] })
}
