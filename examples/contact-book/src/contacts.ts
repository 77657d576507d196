/** One entry of the contact book. */
export interface Contact {
  readonly id: number
  name: string
  email: string
  company: string
}

/** An email that was sent to a contact. */
export interface Email {
  readonly id: number
  readonly to: string
  readonly subject: string
}

const FIRST = ['Ada', 'Alan', 'Barbara', 'Claude', 'Donald', 'Edsger', 'Frances', 'Grace', 'Hedy', 'Ida', 'John', 'Katherine']
const LAST = [
  'Dijkstra',
  'Hopper',
  'Johnson',
  'Knuth',
  'Lamarr',
  'Liskov',
  'Lovelace',
  'McCarthy',
  'Noether',
  'Shannon',
  'Turing',
]
const COMPANIES = ['Initech', 'Globex', 'Umbrella', 'Hooli', 'Acme']

/** A contact book in memory, filled with generated contacts. */
export class ContactBook {
  readonly #contacts = new Map<number, Contact>()
  readonly #emails: Email[] = []
  #nextId = 1

  constructor(size = 300) {
    for (let i = 0; i < size; i++) {
      const first = FIRST[i % FIRST.length] as string
      const last = LAST[i % LAST.length] as string
      const company = COMPANIES[i % COMPANIES.length] as string
      this.add({ name: `${first} ${last}`, email: `${first}.${last}.${i + 1}@${company}.example`.toLowerCase(), company })
    }
  }

  /** The contacts whose name, email or company holds the text, at most `limit` of them. */
  list(search = '', limit = 20): Contact[] {
    const text = search.toLowerCase()
    const found = [...this.#contacts.values()].filter(({ name, email, company }) =>
      `${name} ${email} ${company}`.toLowerCase().includes(text),
    )
    return found.slice(0, limit)
  }

  get(id: string): Contact | undefined {
    return this.#contacts.get(Number(id))
  }

  add(contact: Omit<Contact, 'id'>): Contact {
    const added = { id: this.#nextId++, ...contact }
    this.#contacts.set(added.id, added)
    return added
  }

  remove({ id }: Contact): boolean {
    return this.#contacts.delete(id)
  }

  send(to: string, subject: string): Email {
    const email = { id: this.#emails.length + 1, to, subject }
    this.#emails.push(email)
    return email
  }

  emailsTo({ email }: Contact): Email[] {
    return this.#emails.filter(({ to }) => to === email)
  }
}
