import { type Document, isType } from '@cella/documents'

/** What queries ask of a document's payload: the columns that hold it. */
export function standingOf(document: Document): { ends_at: number | null; each_contract: boolean | null } {
  const { payload } = document
  return {
    ends_at: 'notAfter' in payload ? payload.notAfter : null,
    each_contract: isType(document, 'cella/manifest') ? document.payload.approval === 'each-contract' : null,
  }
}
