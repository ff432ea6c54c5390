// What a verdict on a receipt can say, by code. Parameters are named in braces.

/** Of the code that holds a log's key: what a verdict on any file with its statements can say. */
export const signerWords = {
  proved: {
    SIGNER:
      'The log’s key is held by the code measured {measurement} in {tee}: its own evidence, bound to the key, is entry {index} of the same log. Its Build document {build} calls it release {release}.',
    SIGNER_SIMULATED:
      'The log’s key is held by the code measured {measurement} in a SIMULATED {tee}, which protects it from nobody who runs the machine: its own evidence, bound to the key, is entry {index} of the same log. Its Build document {build} calls it release {release}.',
  },
  notProved: {
    SIGNER_LATER:
      'That the log’s key passed to no other code after entry {index}: that would be a later entry, and reading the log shows it. Whether this build is good is for you to say.',
    SIGNER_UNJUDGED: 'Which code signs for the log: its evidence is in the file, and you can’t judge it ({problem}).',
    SIGNER_UNSHOWN: 'Which code signs for the log: the file does not show it.',
  },
  wrong: {
    SIGNER: 'What the file says of the code that signs for the log is wrong: {problem} ({code}).',
  },
} as const

/** What is proved. */
const provedWords = {
  RECEIPT_LOGGED:
    'The receipt is entry {index} of the log {log}, in a checkpoint of {size} entries that {witnesses} cosigned {when}.',
  RECEIPT_LOGGED_UNWITNESSED:
    'The receipt is entry {index} of the log {log}, in a checkpoint of {size} entries that the log alone signed.',
  ...signerWords.proved,
  LOG_SIGNER:
    'All code that held the log’s key, up to entry {index}, is of builds that the terms of {organisation} accept.',
  CONTRACT:
    'It is of run {run}, attempt {attempt}, of the contract “{name}” ({digest}), written by {organisation} for the stated purpose “{purpose}”.',
  INPUT:
    '{organisation} gave “{title}” (revision {revision}) as input {name}; its ciphertext has the digest {rootDigest}.',
  PROGRAM:
    'The program “{title}” of {organisation} computed on it; its digest is {digest}. The enclave checked that before it ran.',
  ENCLAVE:
    'It ran in a {tee} enclave of boundary {boundary}, isolation level {isolation}, measured as build {build}, which the terms of {organisations} accept.',
  DECISION: 'The vault {vault} allowed “{title}” for this run{use}, at entry {index} of the log, before the receipt.',
  POLICY: 'The policy of {organisation} on “{title}”, evaluated again here on the same documents, allows it.',
  APPROVAL: '{organisation} had approved the contract for {runs} runs.',
  OUTPUT: 'The output {name} has the digest {rootDigest} and was sealed to {receivers}{suppressed}.',
  STATUS_OK: 'The program ended well, and its outputs passed the rules of every owner and of the contract.',
  STATUS: 'The run ended as “{status}”, and no output left the enclave.',
} as const

/** What nobody should read into it. */
const notProvedWords = {
  SIMULATED_TEE:
    'That anything was protected from the operator: the TEE was simulated. Whoever ran the machine could read all of it.',
  NOBODY_INDEPENDENT_WATCHED:
    'That somebody independent watched the log: the witnesses are {witnesses}, and you named none of them as independent.',
  LEVEL_LOGGED:
    'That the log had not been set back or forked when the assets of {organisation} were released: its terms are content with what the log alone signed (level logged). That the limits on uses held, that nothing had been withdrawn and that no other outcome came first rests on the host, and so does the time (time: host).',
  LEVEL_WITHIN:
    'That the log had not been set back or forked in the last {seconds} seconds before the assets of {organisation} were released: its terms are content with witnesses on a checkpoint of that age (level witnessed-within). Limits on uses, withdrawals and the first outcome of that time rest on the host, and so does the time (time: host).',
  ...signerWords.notProved,
  LOG_SIGNER_UNSHOWN:
    'That builds which {organisation} demands signed for the log: the file does not show all of them, or you can’t judge them. It rests on vaults and worker, which judged it from the whole log before they released anything.',
  TIME_IS_THE_HOSTS: 'When it happened: no witness put a time on the log, so every time is the word of the host.',
  PROGRAM_HONESTY:
    'That the program computes what its title says: the digest is proved, and who approved that digest approved what it does.',
  INPUT_TRUTH: 'That the inputs are true: they are what their owners sealed.',
  PURPOSE_IS_A_WORD: 'That the result is used for “{purpose}”: the purpose is the word of {organisation}.',
  ONLY_RECEIPT:
    'That no other receipt of this run exists: the measured worker checked that this one was first; one file can’t show what else is in the log.',
  REVOKED_SINCE:
    'That nothing was withdrawn after {latest}. That nothing was withdrawn before rests on the vaults, which read the whole log.',
  SIDE_CHANNELS: 'That nothing leaked through run time, power or memory traffic of the chip.',
} as const

/** What is wrong with it: these disprove. */
const wrongWords = {
  RECEIPT_SIGNATURE: 'The receipt is not signed by the worker whose evidence is in the bundle.',
  RECEIPT_PROOF: 'The receipt is not shown to be in the log: {problem}',
  DOCUMENT_PROOF: 'The document {digest} is not shown to be in the log: {problem}',
  DOCUMENT_WRONG: 'A document in the bundle is not valid: {problem}',
  DOCUMENT_NOT_COUNTING: '{problem}',
  CONTRACT_DIFFERS: 'The receipt is not of the contract in the bundle: {problem}',
  RECEIPT_DIFFERS: 'The receipt contradicts the documents: {field} is {got}, expected {expected}.',
  EVIDENCE_WRONG: 'The evidence of the {role} is not acceptable: {problem}',
  BINDING_DIFFERS: 'The evidence of the {role} is for something else: {field} is {got}, expected {expected}.',
  DECISION_WRONG: 'A decision in the bundle is not valid: {problem}',
  DECISION_MISSING: 'No vault’s decision in the bundle allows “{asset}” for this run.',
  POLICY_DENIES:
    'The documents of {organisation} deny “{title}” for this run: {code} at {clause}: expected {expected}, got {got}.',
  ...signerWords.wrong,
  LOG_SIGNER_REFUSED:
    'The terms of {organisation} don’t accept the code that held the log’s key: {code} at {clause}: expected {expected}, got {got}.',
  CLAIM_DIFFERS: 'The receipt says that simulated is {claimed}; the evidence says {found}.',
  TIME_ORDER: 'The receipt entered the log at {index}, not after the decision at {decision}.',
  FUTURE: 'The witnesses date it {earliest}, and your clock says {now}.',
} as const

/** What is missing to judge: each names what to obtain. */
const missingWords = {
  LOG_UNKNOWN:
    'The log {log} is not one whose key you hold: obtain its policy (log key and witnesses) from somebody you trust.',
  ORGANISATION_UNKNOWN:
    'The organisation {organisation} ({role}), which calls itself “{claimed}”, is not one you trust: compare its id with its people, then `cella org trust`.',
  ROOT_UNKNOWN:
    'The TEE’s root {spki} is not one you trust: obtain it from the vendor, or for a simulated TEE from whoever runs the installation.',
  DOCUMENT_MISSING: '{problem}; ask for a whole bundle.',
  QUORUM_MISSING:
    'The terms of {organisation} ask for {expected}, and the bundle has {got}: ask for it again with proofs on a checkpoint that its witnesses cosigned.',
} as const

type Words = Readonly<Record<string, string>>

/** All that a verdict on one kind of file can say, by code. Parameters are named in braces. */
export interface Catalogue {
  readonly proved: Words
  readonly notProved: Words
  readonly wrong: Words
  readonly missing: Words
}

/** What a verdict on a receipt can say. */
export const receiptWords = {
  proved: provedWords,
  notProved: notProvedWords,
  wrong: wrongWords,
  missing: missingWords,
} as const satisfies Catalogue

/** Fills the parameters in; throws for one that is missing, which is our own fault. */
export function sentence(words: Words, code: string, parameters: Readonly<Record<string, string | number>>): string {
  return words[code]!.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = parameters[name]
    if (value === undefined) throw new TypeError(`sentence ${code}: no parameter ${name}`)
    return String(value)
  })
}
