import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isType, parseDocument, signDocument } from '@cella/documents'
import pg from 'pg'
import { openDatabase } from '../database/database.ts'
import { member, newAccount, terms } from '../testing/fixtures.ts'
import { Harness } from '../testing/harness.ts'
import { bearingOn } from './bearing.ts'
import { bearingOnTerms } from './joins.ts'

test('of more members than a vault is told of, those who signed terms in place of root keys are among them', async (context) => {
  const harness = await Harness.start()
  context.after(() => harness.stop())
  const party = await harness.party('Large')
  const recoverer = newAccount()
  const membership = await member(party.id, party.root, recoverer, { roles: ['publisher'] })
  await harness.mustSubmit(membership)
  const recovery = { accounts: [recoverer.id], threshold: 1 }
  const { payload: plain } = await terms(party, { tees: ['tdx'] })
  const before = await signDocument<'cella/terms'>({ ...plain, recovery }, [party.root.seed])
  await harness.mustSubmit(before)
  const next = { ...before.payload, signer: recoverer.id, revision: 2, previous: before.digest, log: 'log another\n' }
  const successor = await signDocument<'cella/terms'>(next, [recoverer.seed])
  await harness.mustSubmit(successor)
  // Nobody whom the terms before don't name gets in by the same door.
  const stranger = newAccount()
  await harness.mustSubmit(await member(party.id, party.root, stranger, { roles: ['publisher'] }))
  const forged = await signDocument<'cella/terms'>({ ...next, signer: stranger.id }, [stranger.seed])
  assert.equal((await harness.submit(forged)).json.error.code, 'ERR_DOCUMENT_SIGNER')
  const contract = await harness.contract(party)

  const client = new pg.Client({ connectionString: harness.postgres.url })
  await client.connect()
  // Rows as of 1450 members who were taken in later: more than 3 MiB of envelopes.
  await client.query(
    `insert into documents (digest, leaf_index, type, organisation, signer, envelope, salt, leaf)
     select lpad(to_hex(n), 64, '0'), 1000000 + n, type, organisation, signer, envelope, salt, leaf
     from documents, generate_series(1, 1450) as n where digest = $1`,
    [party.membership.digest],
  )
  await client.end()
  const database = await openDatabase({ url: harness.postgres.url, dataFolder: harness.folder, connectionsMax: 2 })
  try {
    const { envelopes } = await bearingOn(database.tables, contract.digest)
    const told = envelopes.map(parseDocument)
    assert.ok(told.filter((document) => isType(document, 'cella/membership')).length < 1450)
    for (const needed of [before, successor, membership]) assert.ok(envelopes.includes(needed.envelope), needed.type)
    // And what another vault is appraised by when it joins.
    const joining = await bearingOnTerms(database.tables, party.id)
    for (const needed of [party.organisation, before, successor, membership]) {
      assert.ok(joining.includes(needed.envelope), needed.type)
    }
  } finally {
    await database.close()
  }
})
