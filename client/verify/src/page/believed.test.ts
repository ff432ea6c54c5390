import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { believed, Wrong } from './believed.ts'

describe('what a person gives that can’t be used is named', () => {
  const nothing = {
    anchors: '',
    policy: '',
    independent: '',
    organisations: '',
    vaults: '',
    key: '',
    entry: undefined,
    now: 0,
  }
  const wrong: [string, Partial<typeof nothing>, RegExp][] = [
    ['anchors that are no JSON', { anchors: '{' }, /no JSON/],
    ['anchors of another form', { anchors: '{"format":"x"}' }, /^The anchors: format/],
    ['a policy', { policy: 'nonsense' }, /^The policy of the log: /],
    ['an organisation', { organisations: 'Clinic' }, /“Clinic” does not begin with the id/],
    ['a vault', { vaults: 'short' }, /“short” is no id of a vault/],
    ['a key', { key: 'ssh-rsa AAAA' }, /^The key: /],
  ]
  for (const [name, given, message] of wrong) {
    test(name, () => {
      assert.throws(
        () => believed({ ...nothing, ...given }),
        (error) => error instanceof Wrong && message.test(error.message),
      )
    })
  }
})
