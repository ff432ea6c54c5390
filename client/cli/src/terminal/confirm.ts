import { createInterface } from 'node:readline/promises'
import { UsageError } from '../error.ts'

/** Yes or no; anything but `y` and `yes` is no. Without a terminal it refuses and names the flag that answers. */
export async function confirm(
  question: string,
  streams: { stdin: NodeJS.ReadStream; stderr: NodeJS.WriteStream },
): Promise<boolean> {
  if (!streams.stdin.isTTY) {
    throw new UsageError(
      'this command asks before it acts, and there is no terminal to ask on',
      'add --yes if you mean it',
    )
  }
  const lines = createInterface({ input: streams.stdin, output: streams.stderr })
  try {
    const answer = await lines.question(`${question} [y/N] `)
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    lines.close()
  }
}
