import { existsSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../../shared/', import.meta.url))

/** The path of `name` below the shared vectors and data beside the checkout. */
export function sharedPath(name: string): string {
  return `${root}${name}`
}

/**
 * A test that reads vectors or data kept outside of the project. Where they are absent it skips and says so; with
 * CELLA_REQUIRE_SHARED set it fails instead, so that a build that is meant to have them can't pass without.
 */
export function sharedTest(name: string, path: string, body: (context: TestContext) => void | Promise<void>): void {
  const present = existsSync(sharedPath(path))
  if (!present && process.env.CELLA_REQUIRE_SHARED) {
    test(name, () => {
      throw new Error(`${sharedPath(path)} is absent and CELLA_REQUIRE_SHARED is set`)
    })
    return
  }
  void test(
    name,
    { skip: present ? false : `${path} is not here: the shared vectors are kept outside of the project` },
    body,
  )
}
