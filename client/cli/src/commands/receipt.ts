import { fetchReceipt, receiptOf } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, group, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { writeNewFile } from '../files.ts'
import { digestArgument } from '../options.ts'
import { verdictText } from '../words.ts'
import { runNumber } from './run.ts'
import { addVerifyCommand } from './verify.ts'

/** `cella receipt show` and `cella verify` */
export function addReceiptCommands(program: Command, cli: Cli): void {
  const receipt = group(program, 'receipt', 'receipts: what happened, provable to others')
  const show = leaf(receipt, 'show <contract> <run>', {
    summary: 'fetch a run’s receipt, judge it, and keep it as one file',
    examples: ['cella receipt show 91c2… 1', 'cella receipt show 91c2… 1 --output receipt.json'],
  }).option('--output <file>', 'write the file that `cella verify` takes')
  does<{ output?: string }>(show, cli, async (context, [contract, run], { output }) => {
    const session = await context.session()
    const fetched = await fetchReceipt(session, { contract: digestArgument(contract, 'contract'), run: runNumber(run) })
    if (output !== undefined) {
      await writeNewFile(output, fetched.bytes, { mode: 0o644, hint: 'choose another name' })
    }
    return resultOf(context, fetched.verdict, receiptOf(fetched.bundle), output)
  })
  addVerifyCommand(program, cli)
}

function resultOf(
  context: Context,
  verdict: Parameters<typeof verdictText>[0],
  receipt: ReturnType<typeof receiptOf>,
  file: string | undefined,
): Result {
  const text = verdictText(verdict, context)
  return {
    data: {
      ...verdict,
      contract: receipt.contract,
      run: receipt.run,
      status: receipt.status,
      ...(file !== undefined && { file }),
    },
    text: file === undefined ? text : `${text}\n\nkept in ${file}; anyone can check it with: cella verify ${file}`,
    exitCode: verdict.outcome === 'proved' ? 0 : 1,
  }
}
