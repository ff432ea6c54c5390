import assert from 'node:assert/strict'
import test from 'node:test'
import { publicUrlOf } from './public-url.ts'

const cases: readonly (readonly [Parameters<typeof publicUrlOf>[0], string | undefined])[] = [
  [{}, undefined],
  [{ public: { host: '10.1.1.1', port: 7411 } }, 'https://10.1.1.1:7411'],
  [{ public: { host: 'fd00::1', port: 7411 } }, 'https://[fd00::1]:7411'],
  [{ public: { host: '10.1.1.1', port: 7411 }, publicUrl: 'https://cella.example.org' }, 'https://cella.example.org'],
  [{ public: { host: '10.1.1.1', port: 0 } }, undefined],
  [{ public: { host: '0.0.0.0', port: 7411 } }, undefined],
  [{ public: { host: '::', port: 7411 } }, undefined],
]
for (const [options, url] of cases) {
  test(`others reach ${JSON.stringify(options)} at ${url}`, () => assert.equal(publicUrlOf(options), url))
}
