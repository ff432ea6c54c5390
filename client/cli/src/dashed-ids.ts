import type { Command } from 'commander'

/** 32 bytes in base64url: one key in 64 has an id that begins with a dash. No option is as long. */
const dashedId = /^-[A-Za-z0-9_-]{42}$/

/** `args` with ids that begin with a dash behind `--`, where they are read as arguments and not as options. */
export function dashedIdsLast(program: Command, args: readonly string[]): string[] {
  if (args.includes('--')) return [...args]
  let command = program
  const options = [...program.options]
  const [others, ids]: [string[], string[]] = [[], []]
  for (const [at, word] of args.entries()) {
    const before = options.find(({ long, short }) => at > 0 && [long, short].includes(args[at - 1]))
    const isValue = before?.required === true || before?.optional === true
    if (dashedId.test(word) && !isValue) {
      ids.push(word)
      continue
    }
    others.push(word)
    const next = isValue ? undefined : command.commands.find((one) => one.name() === word)
    if (next === undefined) continue
    command = next
    options.push(...command.options)
  }
  return ids.length === 0 ? others : [...others, '--', ...ids]
}
