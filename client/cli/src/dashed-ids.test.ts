import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Command } from 'commander'
import { dashedIdsLast } from './dashed-ids.ts'

const id = `-${'a'.repeat(42)}`
const other = `--${'b'.repeat(41)}`

/** What the command got. */
function parsed(args: readonly string[]): object {
  let got = {}
  const program = new Command('cella')
    .option('--json')
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
  const rotate = program.command('vaults').exitOverride().command('rotate <ids...>').exitOverride()
  rotate.option('--vault <id>').action((ids: string[], flags: object) => {
    got = { ids, ...flags, ...program.opts() }
  })
  program.parse(dashedIdsLast(program, args), { from: 'user' })
  return got
}

test('an id that begins with a dash is an argument, wherever it stands', () => {
  assert.deepEqual(parsed(['vaults', 'rotate', id]), { ids: [id] })
  assert.deepEqual(parsed(['vaults', 'rotate', id, other, '--json']), { ids: [id, other], json: true })
  assert.deepEqual(parsed(['--json', 'vaults', 'rotate', other]), { ids: [other], json: true })
})

test('or the value of an option', () => {
  assert.deepEqual(parsed(['vaults', 'rotate', '--vault', id, other]), { ids: [other], vault: id })
  assert.deepEqual(parsed(['vaults', 'rotate', 'x', '--vault', other]), { ids: ['x'], vault: other })
})

test('a word of another length is an option, known or not', () => {
  assert.throws(() => parsed(['vaults', 'rotate', `${id}a`]), /unknown option/)
  assert.throws(() => parsed(['vaults', 'rotate', id.slice(1), '--none']), /unknown option/)
})

test('who says `--` says it all', () => {
  assert.deepEqual(parsed(['vaults', 'rotate', '--', id, '--json']), { ids: [id, '--json'] })
})
