#include "mycelium/base/spin_backoff.h"

#include "gtest/gtest.h"
#include "tests/support/driven_clock.h"

namespace mycelium {
namespace {

using ::mycelium::test::DrivenClock;

// A thread that gives way is back after `away_ns`.
class DrivenWaiter final : public Waiter {
 public:
  explicit DrivenWaiter(DrivenClock& clock) : clock_(clock) {}
  void WaitWord(const std::atomic<uint32_t>&, uint32_t, TimeNs) override {}
  void WakeWord(const std::atomic<uint32_t>&) override {}
  int64_t WaitEpoll(int, epoll_event*, int, TimeNs) override { return 0; }
  void GiveWay() override {
    ++ways_given;
    clock_.now += away_ns;
  }
  int64_t away_ns = 1'000;
  int ways_given = 0;

 private:
  DrivenClock& clock_;
};

class SpinBackoffTest : public ::testing::Test {
 protected:
  using Spell = SpinBackoff::Spell;

  Spell Begin(int64_t spin_ns, TimeNs deadline = kNever) {
    return Spell(backoff_, clock_.now, spin_ns, deadline);
  }
  // Looks, each time after `look_ns`, until the spell is over. Returns how long
  // the spell was.
  int64_t SpinOn(Spell& spell, int64_t look_ns) {
    const TimeNs begin = clock_.now;
    do {
      clock_.now += look_ns;
    } while (spell.GoesOn(clock_.now));
    return clock_.now - begin;
  }
  int64_t SpinFor(int64_t spin_ns) {
    Spell spell = Begin(spin_ns);
    return SpinOn(spell, 100);
  }

  DrivenClock clock_;
  DrivenWaiter waiter_{clock_};
  Environment environment_{Sys::Real(), clock_, waiter_};
  SpinBackoff backoff_{environment_};
};

TEST_F(SpinBackoffTest, SpellLastsAsLongAsItWasAskedFor) {
  EXPECT_EQ(SpinFor(50'000), 50'000);
  Spell spell = Begin(50'000, clock_.now + 10'000);
  EXPECT_EQ(SpinOn(spell, 100), 10'000);
}

TEST_F(SpinBackoffTest, AnswerThatComesAtOnceCostsNoSystemCall) {
  SpinFor(SpinBackoff::kGiveWayNs);
  EXPECT_EQ(waiter_.ways_given, 0);
}

TEST_F(SpinBackoffTest, SpinningGivesWayAgainAndAgain) {
  SpinFor(50'000);
  // After each kGiveWayNs, for a microsecond each time.
  EXPECT_GE(waiter_.ways_given, 50'000 / (SpinBackoff::kGiveWayNs + 1'200));
  EXPECT_LE(waiter_.ways_given, 50'000 / (SpinBackoff::kGiveWayNs + 1'000));
}

TEST_F(SpinBackoffTest, SpinningForEverNeverGivesWayAndNeverRests) {
  Spell spell = Begin(kNever, clock_.now + 100'000'000);
  clock_.now += SpinBackoff::kLostNs;
  EXPECT_TRUE(spell.GoesOn(clock_.now));
  SpinOn(spell, 1'000);
  EXPECT_EQ(waiter_.ways_given, 0);
  Spell next = Begin(kNever);
  EXPECT_FALSE(next.rests());
  EXPECT_EQ(next.end(), kNever);
}

TEST_F(SpinBackoffTest, WhoGivesWayToAnotherThatSpinsGoesOn) {
  waiter_.away_ns = SpinBackoff::kLostNs - 1;
  SpinFor(50'000);
  EXPECT_EQ(waiter_.ways_given, 1);
  EXPECT_FALSE(Begin(50'000).rests());
}

TEST_F(SpinBackoffTest, WhoGivesWayToOneThatComputesRestsInProportion) {
  waiter_.away_ns = 4'000'000;
  const int64_t spun_ns = SpinFor(50'000'000);
  EXPECT_EQ(waiter_.ways_given, 1);
  EXPECT_LT(spun_ns, 5'000'000);
  const TimeNs until = clock_.now + 4'000'000 * SpinBackoff::kRestFactor;
  clock_.now = until - 1;
  Spell resting = Begin(50'000);
  EXPECT_TRUE(resting.rests());
  EXPECT_FALSE(resting.GoesOn(clock_.now));
  EXPECT_EQ(waiter_.ways_given, 1);
  clock_.now = until;
  EXPECT_FALSE(Begin(50'000).rests());
}

TEST_F(SpinBackoffTest, WhoLosesTheCpuWithoutGivingWayRestsToo) {
  Spell spell = Begin(50'000'000);
  clock_.now += SpinBackoff::kLostNs;
  EXPECT_FALSE(spell.GoesOn(clock_.now));
  EXPECT_LE(spell.end(), clock_.now);
  EXPECT_TRUE(Begin(50'000).rests());
  EXPECT_EQ(waiter_.ways_given, 0);
}

TEST_F(SpinBackoffTest, TimeSpentAtWorkIsNotLost) {
  Spell spell = Begin(50'000'000);
  clock_.now += 2 * SpinBackoff::kLostNs;
  spell.Resume(clock_.now);
  EXPECT_TRUE(spell.GoesOn(clock_.now));
}

TEST_F(SpinBackoffTest, NobodyRestsForLong) {
  waiter_.away_ns = 3'600'000'000'000;
  SpinFor(50'000'000);
  clock_.now += SpinBackoff::kRestNsMax - 1;
  EXPECT_TRUE(Begin(50'000).rests());
  clock_.now += 1;
  EXPECT_FALSE(Begin(50'000).rests());
}

}  // namespace
}  // namespace mycelium
