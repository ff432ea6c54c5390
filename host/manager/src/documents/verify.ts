import { decodeBase64url } from '@cella/bytes'
import {
  type Document,
  DocumentError,
  type DocumentType,
  isType,
  type Payload,
  parseDocumentOf,
  type SignedDocument,
  verifyDocument,
} from '@cella/documents'
import { type KeyId, keyIdOf } from '@cella/primitives'
import type { Kysely } from 'kysely'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'

// A filter against rubbish, no authority: vaults and clients verify every document themselves, against the log.

interface KeySet {
  readonly keys: ReadonlyMap<KeyId, Uint8Array>
  readonly threshold: number
}

const signedByEnclaves: ReadonlySet<DocumentType> = new Set([
  'cella/decision',
  'cella/secret-decision',
  'cella/receipt',
  'cella/join',
])

/**
 * Checks a submitted document's signatures under keys that this manager stores: an organisation's root keys, or the
 * account of one of its memberships. Throws DocumentError, or ERR_REQUEST_MALFORMED for what only enclaves sign.
 */
export async function verifySubmission(tables: Kysely<Tables>, document: Document): Promise<SignedDocument> {
  if (signedByEnclaves.has(document.type)) {
    throw new ManagerError(
      'ERR_REQUEST_MALFORMED',
      `${document.type} is signed by an enclave, which hands it in itself`,
    )
  }
  for (const { keys, threshold } of await candidates(tables, document)) {
    if (document.signers.length < threshold || !document.signers.every((signer) => keys.has(signer))) continue
    return verifyDocument(document, (signer) => keys.get(signer))
  }
  throw new DocumentError(
    'ERR_DOCUMENT_SIGNER',
    `${document.type} ${document.digest}: nothing stored here entitles ${document.signers.join(', ')} to sign it`,
  )
}

async function candidates(tables: Kysely<Tables>, document: Document): Promise<readonly KeySet[]> {
  if (isType(document, 'cella/organisation')) {
    const { payload } = document
    if (payload.revision === 1) {
      if (payload.organisation !== null || payload.previous !== null) {
        throw new DocumentError('ERR_DOCUMENT_MALFORMED', 'the first revision of an organisation follows on nothing')
      }
      return rootsOf(payload)
    }
    const previous = await organisations(tables, payload.organisation ?? '')
    return previous.filter(({ digest }) => digest === payload.previous).flatMap((found) => rootsOf(found.payload))
  }
  const organisation = document.payload.organisation ?? ''
  const isRootSigned = 'cosigners' in document.payload
  const roots = isRootSigned
    ? (await organisations(tables, organisation)).flatMap(({ payload }) => rootsOf(payload))
    : []
  if (isType(document, 'cella/terms')) return [...roots, ...(await recoverers(tables, document.payload))]
  if (isRootSigned && document.type !== 'cella/revocation') return roots
  return [...roots, ...(await accounts(tables, organisation, document.payload.signer))]
}

/** Those whom the terms before name for recovery. That only the log differs is for readers to judge. */
async function recoverers(tables: Kysely<Tables>, terms: Payload<'cella/terms'>): Promise<KeySet[]> {
  const previous = await tables
    .selectFrom('documents')
    .select('envelope')
    .where('digest', '=', terms.previous ?? '')
    .where('organisation', '=', terms.organisation)
    .where('type', '=', 'cella/terms')
    .where('leaf_index', 'is not', null)
    .executeTakeFirst()
  if (previous === undefined) return []
  const { recovery } = parseDocumentOf('cella/terms', previous.envelope).payload
  if (recovery === undefined) return []
  const named = await Promise.all(recovery.accounts.map((account) => accounts(tables, terms.organisation, account)))
  const keys = named.flat().flatMap((set) => [...set.keys])
  return [{ keys: new Map(keys), threshold: recovery.threshold }]
}

function rootsOf(payload: Payload<'cella/organisation'>): readonly KeySet[] {
  const recovery = { keys: byId(payload.recoveryKeys), threshold: payload.recoveryThreshold }
  return [
    { keys: byId(payload.rootKeys), threshold: payload.threshold },
    ...(payload.recoveryThreshold > 0 ? [recovery] : []),
  ]
}

async function organisations(tables: Kysely<Tables>, id: string): Promise<Document<'cella/organisation'>[]> {
  const rows = await tables
    .selectFrom('documents')
    .select('envelope')
    .where('organisation', '=', id)
    .where('type', '=', 'cella/organisation')
    .where('leaf_index', 'is not', null)
    .orderBy('leaf_index', 'desc')
    .limit(100)
    .execute()
  return rows.map((row) => parseDocumentOf('cella/organisation', row.envelope))
}

async function accounts(tables: Kysely<Tables>, organisation: string, account: string): Promise<KeySet[]> {
  const rows = await tables
    .selectFrom('memberships')
    .innerJoin('documents', 'documents.digest', 'memberships.digest')
    .select('signing_key')
    .where('memberships.organisation', '=', organisation)
    .where('account', '=', account)
    .where('leaf_index', 'is not', null)
    .limit(1)
    .execute()
  return rows.map((row) => ({ keys: byId([row.signing_key]), threshold: 1 }))
}

function byId(keys: readonly string[]): ReadonlyMap<KeyId, Uint8Array> {
  return new Map(keys.map((key) => decodeBase64url(key, 'key')).map((bytes) => [keyIdOf(bytes), bytes]))
}
