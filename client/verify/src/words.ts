import { type Catalogue, type Statement, signerWords, type Verdict } from '@cella/receipt'

/** What a verdict on a file of the log can say, by code: on a terminal, in the page and for programs. */
export const logWords = {
  proved: {
    DOCUMENT: 'It is the document {digest} of type {type}.',
    LOGGED: 'It is entry {index} of the log {log}, in a checkpoint of {size} entries that {witnesses} cosigned {when}.',
    LOGGED_UNWITNESSED:
      'It is entry {index} of the log {log}, in a checkpoint of {size} entries that the log alone signed.',
    ...signerWords.proved,
    LEAF: 'The entry is of kind {kind}; what stands behind it, the file does not show.',
    ENTRY: 'The entry is the one that you gave, of {bytes} bytes.',
    EVENT: 'The entry is an event, and commits to each field that the file shows.',
    FIELD: 'Field {name} is {value}.',
    RECORD:
      'The record of {bytes} bytes is number {index} of the {count} of one audit batch, whose root the entry commits to.',
    RANGE:
      'These are all {leaves} entries of the log {log} from index {from} to {to}, the last of them in a checkpoint that {witnesses} cosigned {when}.',
    RANGE_UNWITNESSED:
      'These are all {leaves} entries of the log {log} from index {from} to {to}, in a checkpoint that the log alone signed.',
    COMPLETE:
      '{count} of them are of the stream of {organisation} in the vault {vault}: every one that it has there, with none missing. {erased} of these were erased, and a later entry says so.',
    REKOR: 'The body of {bytes} bytes is entry {index} of the Rekor log {log}, in a checkpoint of {size} entries.',
    SIGSUM:
      'The submitter with your key had your file logged as entry {index} of a Sigsum log of {size} entries, cosigned by {witnesses} {when}.',
    SIGSUM_UNWITNESSED:
      'The submitter with your key had your file logged as entry {index} of a Sigsum log of {size} entries that the log alone signed.',
    COSE_INCLUSION: 'Your entry is in a tree that the log {log} signed.',
    CCF: 'The statement is in a CCF ledger whose key you gave; it was committed as {evidence}.',
  },
  notProved: {
    SIGNER_COUNTS:
      'That whoever signed the document was entitled to, or that it was not withdrawn later: the file shows its place alone.',
    ...signerWords.notProved,
    KIND_ALONE: 'What the entry is about: give the entry or the document for that.',
    WHOSE: 'Whose event it is: nothing in the log tells that.',
    HIDDEN: 'What {count} further fields of the event say: they are there, and hidden.',
    TRUTH: 'That what the entry says is true: it is what its writer said, and could not change since.',
    LOGGED_BEFORE_ACTING:
      'That the vault logged all that it did: that is its code’s doing, and its evidence names the code.',
    NOBODY_INDEPENDENT_WATCHED:
      'That somebody independent watched the log: the witnesses are {witnesses}, and you named none of them as independent.',
    TIME_IS_THE_HOSTS: 'When it happened: no witness put a time on the log, so every time is the word of the host.',
    COSE_NUMBERS: 'Its place: the receipt says index {index} of {size}, which its signature does not cover.',
    COSE_WATCHED: 'That the log showed everybody the same tree: a receipt carries the log’s signature alone.',
    STATEMENT_SIGNATURE: 'That the statement’s own signature is right: the receipt is over the statement as it stands.',
    CERTIFICATE: 'Who signed the body: its certificate is for the tools of its own ecosystem.',
  },
  wrong: {
    PROOF: '{problem} ({code})',
    EXTRA: 'What the file says beside its proof is not what was logged: {problem}.',
    ...signerWords.wrong,
    STREAM: 'The stream is not complete: {problem} ({code}).',
    FUTURE: 'The witnesses date it {earliest}, and your clock says {now}.',
  },
  missing: {
    LOG_UNKNOWN:
      'The log is not one whose key you hold ({problem}): obtain its policy (log key and witnesses) from somebody you trust.',
    QUORUM:
      '{problem}. It may be a true file that its witnesses have not cosigned; ask for it again on a later checkpoint.',
    ENTRY_NEEDED: 'The file does not hold the entry that it proves: give that as well ({what}).',
    KEY_NEEDED: 'The file does not say whom you trust to have signed it: give the public key of {whom}.',
    ORGANISATION_UNKNOWN:
      'The organisation {organisation} is not one you trust: compare its id with its people, then name it.',
    VAULT_UNKNOWN:
      'The stream is vouched for by the vault {vault}, which you did not name: appraise its evidence, or ask somebody whom you trust.',
    CLOSED: 'A part can’t be read: {problem}.',
    KIND_UNKNOWN:
      'The file is of no kind that is known here: a receipt, a .tlog-proof, a disclosure, a record of a batch, a completeness export, a COSE receipt, or a proof of Rekor v2, Sigsum or CCF.',
  },
} as const satisfies Catalogue

/** What a verdict comes to, in words. */
export const outcomeTitles: Readonly<Record<Verdict['outcome'], string>> = {
  proved: 'Proved',
  disproved: 'Disproved',
  'cannot-tell': 'Cannot tell',
}

export interface VerdictPart {
  readonly name: 'statements' | 'notProved' | 'wrong' | 'missing'
  readonly title: string
  /** One character before each sentence. */
  readonly mark: string
  readonly statements: readonly Statement[]
}

/** A verdict's sentences with their headings, in order; empty parts are left out. */
export function verdictParts(verdict: Verdict): VerdictPart[] {
  const parts: VerdictPart[] = [
    { name: 'statements', title: 'What is proved', mark: '✓', statements: verdict.statements },
    { name: 'notProved', title: 'What is not proved', mark: '·', statements: verdict.notProved },
    { name: 'wrong', title: 'What is wrong', mark: '✗', statements: verdict.wrong },
    { name: 'missing', title: 'What is missing', mark: '?', statements: verdict.missing },
  ]
  return parts.filter(({ statements }) => statements.length > 0)
}
