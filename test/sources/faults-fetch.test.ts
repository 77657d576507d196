import { vi } from 'vitest'
import { describeFaults } from './gateway-faults.js'

vi.mock('#transport', () => import('../../packages/core/src/transport/fetch.js'))

describeFaults('fetch')
