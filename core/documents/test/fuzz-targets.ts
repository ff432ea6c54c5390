import { decodeUtf8, encodeUtf8, FormatError } from '@cella/bytes'
import { type KeyId, keyIdOf } from '@cella/primitives'
import type { FuzzTarget } from '@cella/testing/fuzz'
import {
  DocumentError,
  encodeDraft,
  makeDraft,
  parseDocument,
  parseDocumentOf,
  parseDraft,
  type SignedDocument,
  signDocument,
  signDraft,
  verifyDocument,
} from '../src/index.ts'
import { publicKeys, samples, seeds } from './samples.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const envelopes = await Promise.all(
  Object.values(samples).map(async (payload) => encodeUtf8((await signDocument(payload, seeds)).envelope)),
)
const terms = encodeUtf8((await signDocument(samples['cella/terms'], seeds)).envelope)
const keys = new Map(publicKeys.map((key) => [keyIdOf(key), key]))
const text = (bytes: Uint8Array): string => decodeUtf8(bytes, 'text')
// FormatError: of what is no UTF-8, which those who call never hand on.
const ours = { errors: [DocumentError, FormatError] }

const draft = encodeUtf8(encodeDraft(signDraft(makeDraft(samples['cella/terms']), seeds[0]!)))

export const fuzzTargets: readonly FuzzTarget[] = [
  {
    name: 'parseDocument',
    seeds: envelopes,
    run: (bytes) => parseDocument(text(bytes)),
    encode: ({ envelope }: SignedDocument) => encodeUtf8(envelope),
    ...ours,
  },
  { name: 'parseDocumentOf', seeds: [terms], run: (bytes) => parseDocumentOf('cella/terms', text(bytes)), ...ours },
  {
    name: 'parseDraft',
    seeds: [draft],
    run: (bytes) => parseDraft(text(bytes)),
    encode: (read: ReturnType<typeof parseDraft>) => encodeUtf8(encodeDraft(read)),
    ...ours,
  },
  {
    name: 'verifyDocument',
    seeds: envelopes,
    run: (bytes) => verifyDocument(parseDocument(text(bytes)), (signer: KeyId) => keys.get(signer)),
    meaning: ({ digest }: SignedDocument) => digest,
    ...ours,
  },
]
